"""The operations that pick, repeat and reorder the places along the dimensions of a spec."""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, Self

import torch
from torch import Tensor

from rl_specs._shape_ops import SizeLike, as_size, as_sizes, check_whole, full_index, split_index
from rl_specs._shaped import Shaped
from rl_specs.errors import ShapeError, message


class Placed(Shaped):
    """Something whose places along its dimensions tensors' operations pick, repeat and reorder."""

    def index(self, index: Any) -> Self:
        """The spec of `value[index]`: integers, slices, `None`, `...`, bools, masks, index tensors, tuples of these."""
        component = type(self).__name__
        ahead, behind = split_index(full_index(index, self.ndim, component), self._front)
        check_whole(behind, component)
        return self._apply("index", lambda t: t[ahead])

    def __getitem__(self, index: Any) -> Any:
        return self.index(index)

    def unbind(self, dim: int = 0) -> tuple[Self, ...]:
        """The specs along dimension `dim`."""
        at = self._front_dim(dim)
        return tuple(self._along(at, i) for i in range(self.shape[at]))

    # -- parts of a dimension -----------------------------------------------------------------------------------

    def narrow(self, dim: int, start: int, length: int) -> Self:
        """The spec of `length` places of dimension `dim` from `start` on; a negative `start` counts from the end.

        Raises:
            IndexError: there are not as many.
        """
        at = self._front_dim(dim)
        size = self.shape[at]
        first = start + size if start < 0 else start
        if not 0 <= first <= first + length <= size:
            problem, expected = f"narrow of dimension {dim}", f"places of 0 to {size}"
            found = f"start {start}, length {length}"
            raise IndexError(message(type(self).__name__, problem, expected=expected, found=found))
        return self._along(at, slice(first, first + length))

    def split(self, split_size: SizeLike, dim: int = 0) -> tuple[Self, ...]:
        """The specs of parts of `split_size` places each along dimension `dim`, the last maybe smaller; or of as many
        places as a sequence says.

        Raises:
            ShapeError: the sizes are not positive, or those of a sequence do not add up to the dimension's.
        """
        at = self._front_dim(dim)
        size = self.shape[at]
        if isinstance(split_size, int):
            if split_size < 1:
                problem = "split into parts of no size"
                raise ShapeError(message(type(self).__name__, problem, expected="at least 1", found=split_size))
            ends = [*range(split_size, size, split_size), size]
        else:
            if any(part < 0 for part in split_size) or sum(split_size) != size:
                problem, expected = f"split of dimension {dim}", f"sizes that add up to {size}"
                raise ShapeError(message(type(self).__name__, problem, expected=expected, found=tuple(split_size)))
            ends = list(accumulate(split_size))
        return tuple(self._along(at, slice(*part)) for part in pairwise([0, *ends]))

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Self, ...]:
        """The specs of at most `chunks` parts along dimension `dim`, all of one size but for the last.

        Raises:
            ShapeError: `chunks` is not positive.
        """
        at = self._front_dim(dim)
        if chunks < 1:
            problem = "wrong number of chunks"
            raise ShapeError(message(type(self).__name__, problem, expected="at least 1", found=chunks))
        return self.split(max(1, -(-self.shape[at] // chunks)), at)

    def tensor_split(self, indices_or_sections: SizeLike, dim: int = 0) -> tuple[Self, ...]:
        """The specs of parts along dimension `dim`: as many as the number says, whose sizes differ by one at most, or
        those between the places of a sequence.

        Raises:
            ShapeError: the number is not positive.
        """
        at, component = self._front_dim(dim), type(self).__name__
        if isinstance(indices_or_sections, int) and indices_or_sections < 1:
            problem = "wrong number of parts"
            raise ShapeError(message(component, problem, expected="at least 1", found=indices_or_sections))
        how = indices_or_sections if isinstance(indices_or_sections, int) else tuple(indices_or_sections)
        parts = torch.arange(self.shape[at], device="cpu").tensor_split(how)
        return tuple(self.narrow(at, int(part[0]), len(part)) if len(part) else self.narrow(at, 0, 0) for part in parts)

    # -- places by their numbers --------------------------------------------------------------------------------

    def index_select(self, dim: int, index: Tensor) -> Self:
        """The spec of the places `index`, int `[n]`, along dimension `dim`."""
        at = self._front_dim(dim)
        return self._apply("index_select", lambda t: t.index_select(at, index.to(t.device)))

    def gather(self, dim: int, index: Tensor) -> Self:
        """The spec of places along dimension `dim` that differ from place to place.

        Args:
            dim: a dimension.
            index: int64, one dimension for each of the spec, or for the first ones; those behind go along whole.
        Raises:
            ShapeError: `index` has more dimensions, or sizes that do not fit.
            IndexError: it names a place that there is not.
        """
        at = self._front_dim(dim)
        self._check_numbers("gather", at, index)
        return self._apply("gather", lambda t: t.gather(at, _whole(index, t, broadcasts=False)))

    def take_along_dim(self, indices: Tensor, dim: int) -> Self:
        """The spec of the places `indices` along dimension `dim`, of which other dimensions broadcast; see `gather`."""
        at = self._front_dim(dim)
        self._check_numbers("take_along_dim", at, indices)
        return self._apply("take_along_dim", lambda t: t.take_along_dim(_whole(indices, t, broadcasts=True), at))

    def masked_select(self, mask: Tensor) -> Self:
        """The spec of the places where `mask`, bool that broadcasts to the shape, is True: one dimension.

        Raises:
            ShapeError: `mask` does not broadcast.
        """
        try:
            whole = mask.expand(self.shape)
        except RuntimeError as error:
            problem, expected = "mask does not broadcast", tuple(self.shape)
            raise ShapeError(
                message(type(self).__name__, problem, expected=expected, found=tuple(mask.shape))
            ) from error
        return self.index(whole)

    # -- other places -------------------------------------------------------------------------------------------

    def flip(self, *dims: SizeLike) -> Self:
        """The spec with the places along dimensions `dims` in reverse order."""
        at = tuple(self._front_dim(dim) for dim in as_sizes(dims))
        return self._apply("flip", lambda t: t.flip(at))

    def roll(self, shifts: SizeLike, dims: SizeLike | None = None) -> Self:
        """The spec with places moved on by `shifts` along dimensions `dims`, the last ones to the front.

        Args:
            shifts: one number for each of `dims`.
            dims: dimensions; None: the places of all dimensions in a row.
        """
        if dims is not None:
            at = tuple(self._front_dim(dim) for dim in as_size(dims))
            return self._apply("roll", lambda t: t.roll(tuple(as_size(shifts)), at))
        k = self._front
        return self._apply("roll", lambda t: _in_a_row(t, k, lambda row: row.roll(tuple(as_size(shifts)), 0)))

    def repeat(self, *repeats: SizeLike) -> Self:
        """The spec of a value repeated as often as `repeats` says along each dimension, the first of them new ones.

        Raises:
            ShapeError: there are fewer numbers than dimensions.
        """
        times, behind, component = as_sizes(repeats), self.ndim - self._front, type(self).__name__
        if len(times) < self.ndim or any(n != 1 for n in times[len(times) - behind :]):
            expected = f"a number for each of {self.ndim} dimensions" + (f", 1 for the last {behind}" if behind else "")
            raise ShapeError(message(component, "numbers of repeats", expected=expected, found=tuple(times)))
        front = times[: len(times) - behind]
        return self._apply("repeat", lambda t: t.repeat(*front, *[1] * (t.ndim - self._front)))

    def repeat_interleave(self, repeats: int | Tensor, dim: int | None = None) -> Self:
        """The spec of a value each of whose places along dimension `dim` follows itself.

        Args:
            repeats: how often, one number or int `[n]` for the places.
            dim: a dimension; None: the places of all dimensions in a row.
        """
        if dim is None:
            return self.flatten().repeat_interleave(repeats, 0)
        at = self._front_dim(dim)
        times = repeats if isinstance(repeats, Tensor) else torch.tensor(repeats)
        return self._apply("repeat_interleave", lambda t: t.repeat_interleave(times.to(t.device), at))

    def _along(self, at: int, place: int | slice) -> Self:
        return self.index((slice(None),) * at + (place,))

    def _check_numbers(self, name: str, at: int, index: Tensor) -> None:
        component, size = f"{type(self).__name__}.{name}", self.shape[at]
        if not at < index.ndim <= self._front:
            expected = f"{at + 1} to {self._front} dimensions"
            raise ShapeError(message(component, "dimensions of the index", expected=expected, found=index.ndim))
        if index.device.type == "cpu" and index.numel() and not 0 <= int(index.min()) <= int(index.max()) < size:
            found = f"{int(index.min())} to {int(index.max())}"
            raise IndexError(message(component, "places that there are not", expected=f"0 to {size - 1}", found=found))


def _whole(index: Tensor, value: Tensor, *, broadcasts: bool) -> Tensor:
    """`index` with the dimensions of `value` behind its own, of their sizes or of size 1."""
    inner = value.shape[index.ndim :]
    moved = index.to(value.device).reshape(*index.shape, *[1] * len(inner))
    return moved if broadcasts else moved.expand(*index.shape, *inner)


def _in_a_row(value: Tensor, front: int, op: Callable[[Tensor], Tensor]) -> Tensor:
    """`op` of `value` with its first `front` dimensions made one, which are taken apart again."""
    inner: Sequence[int] = value.shape[front:]
    return op(value.reshape(-1, *inner)).reshape(value.shape)
