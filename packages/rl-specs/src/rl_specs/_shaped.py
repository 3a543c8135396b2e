"""The shape of a spec, and the one implementation of the operations on it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Self

from tensordict import TensorDictBase
from torch import Size, Tensor

from rl_specs._shape_ops import (
    ShapeOp,
    SizeLike,
    as_size,
    as_sizes,
    check_dim,
    front_dim,
    front_sizes,
    solve_sizes,
    unflattened,
)
from rl_specs.errors import ShapeError, message


class Shaped(ABC):
    """Something with a shape, on which tensors' shape operations give the same thing of another shape.

    Args:
        shape: its shape; dimensions from the first -1 on are out of reach.
    """

    def __init__(self, shape: Size) -> None:
        self._shape = shape

    @property
    def shape(self) -> Size:
        """Shape of a value, batch dimensions included."""
        return self._shape

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self._shape)

    def expand(self, *sizes: SizeLike) -> Self:
        """The spec with dimensions in front, or of size 1, expanded to `sizes`; -1 keeps a size."""
        k = self._front
        size = front_sizes(as_sizes(sizes), self.shape, k, type(self).__name__)
        return self._apply("expand", lambda t: t.expand((*size, *t.shape[k:])))

    def expand_as(self, other: "Tensor | TensorDictBase | Shaped") -> Self:
        """The spec expanded to the shape of `other`."""
        return self.expand(other.shape)

    def reshape(self, *sizes: SizeLike) -> Self:
        """The spec of a reshaped value; one size can be -1."""
        k, component = self._front, type(self).__name__
        size = solve_sizes(front_sizes(as_sizes(sizes), self.shape, k, component), self.shape[:k], component)
        return self._apply("reshape", lambda t: t.reshape((*size, *t.shape[k:])))

    def view(self, *sizes: SizeLike) -> Self:
        """Same as `reshape`."""
        return self.reshape(*sizes)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Self:
        """The spec with dimensions `start_dim` to `end_dim` made one; of no dimensions, with one of size 1."""
        if self.ndim == 0:
            return self.unsqueeze(0)
        start, end = self._front_dim(start_dim), self._front_dim(end_dim)
        return self._apply("flatten", lambda t: t.flatten(start, end))

    def ravel(self) -> Self:
        """The spec with one dimension."""
        return self.flatten()

    def unflatten(self, dim: int, sizes: Sequence[int]) -> Self:
        """The spec with dimension `dim` split into `sizes`; one size can be -1."""
        at = self._front_dim(dim)
        return self._apply("unflatten", lambda t: unflattened(t, at, sizes))

    def squeeze(self, dim: int | Sequence[int] | None = None) -> Self:
        """The spec without dimension `dim`, or several, where that has size 1; without any of size 1 for `None`."""
        if dim is None:
            dims = tuple(i for i, size in enumerate(self.shape[: self._front]) if size == 1)
        else:
            dims = tuple(self._front_dim(d) for d in ((dim,) if isinstance(dim, int) else dim))
        return self._apply("squeeze", lambda t: t.squeeze(dims))

    def unsqueeze(self, dim: int) -> Self:
        """The spec with a dimension of size 1 at `dim`."""
        at = front_dim(dim, self.ndim + 1, self._front + 1, type(self).__name__)
        return self._apply("unsqueeze", lambda t: t.unsqueeze(at))

    def permute(self, *dims: SizeLike) -> Self:
        """The spec with its dimensions in another order: dimension `i` of the result is `dims[i]` of this one."""
        order, k, component = as_sizes(dims), self._front, type(self).__name__
        at = [check_dim(dim, self.ndim, component) for dim in order]
        if sorted(at) != list(range(self.ndim)):
            expected = f"each of {self.ndim} dimensions once"
            raise ShapeError(message(component, "no order of the dimensions", expected=expected, found=tuple(order)))
        front = [front_dim(dim, self.ndim, k, component) for dim in at[:k]]
        if at[k:] != list(range(k, self.ndim)):
            front_dim(k, self.ndim, k, component)  # says why not
        return self._apply("permute", lambda t: t.permute(*front, *range(k, t.ndim)))

    def transpose(self, dim0: int, dim1: int) -> Self:
        """The spec with two dimensions in each other's place."""
        first, second = self._front_dim(dim0), self._front_dim(dim1)
        return self._apply("transpose", lambda t: t.transpose(first, second))

    def swapaxes(self, axis0: int, axis1: int) -> Self:
        """Same as `transpose`."""
        return self.transpose(axis0, axis1)

    def swapdims(self, dim0: int, dim1: int) -> Self:
        """Same as `transpose`."""
        return self.transpose(dim0, dim1)

    def movedim(self, source: SizeLike, destination: SizeLike) -> Self:
        """The spec with dimension `source`, or several, moved to where `destination` says; the others keep their order.

        Raises:
            ShapeError: more or fewer places than dimensions are given, or one of them twice.
        """
        from_, to = (tuple(self._front_dim(dim) for dim in as_size(dims)) for dims in (source, destination))
        return self._apply("movedim", lambda t: t.movedim(from_, to))

    def moveaxis(self, source: SizeLike, destination: SizeLike) -> Self:
        """Same as `movedim`."""
        return self.movedim(source, destination)

    @property
    def _front(self) -> int:
        """Number of leading dimensions of known size, which are those that shape operations reach."""
        return self.shape.index(-1) if -1 in self.shape else self.ndim

    def _front_dim(self, dim: int) -> int:
        return front_dim(dim, self.ndim, self._front, type(self).__name__)

    def _apply(self, name: str, op: Callable[[Tensor], Tensor]) -> Self:
        try:
            return self._combine((), lambda values: op(values[0]))
        except RuntimeError as error:
            problem = f"{name} does not fit the shape {tuple(self.shape)}: {error}"
            raise ShapeError(message(type(self).__name__, problem)) from error

    @abstractmethod
    def _combine(self, others: Sequence[Self], op: ShapeOp) -> Self:
        """The spec of `op([value of self, *values of others])`, where `op` only moves elements.

        Raises:
            SpecError: the specs differ in more than the elements' places can express.
        """
