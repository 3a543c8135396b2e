"""How slices are cut out of trajectories: how many, how long, where they may lie."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from rl_buffers._arguments import whole_number
from rl_specs import message

Span: TypeAlias = bool | int | tuple[bool | int, bool | int]
UniformOver: TypeAlias = Literal["trajectories", "starts"]
Numbers: TypeAlias = NDArray[np.int64]


@final
@dataclass(frozen=True)
class SliceForm:
    """The arguments of slice samplers that say what a slice is; see `SliceSampler`.

    Raises:
        ValueError: not exactly one of `num_slices` and `slice_len`, or a value out of range.
    """

    component: str
    num_slices: int | None
    slice_len: int | None
    strict_length: bool
    span: Span
    uniform_over: UniformOver = "trajectories"

    def __post_init__(self) -> None:
        if (self.num_slices is None) == (self.slice_len is None):
            expected = "either num_slices or slice_len"
            found = f"num_slices={self.num_slices}, slice_len={self.slice_len}"
            raise ValueError(message(self.component, "size of the slices", expected=expected, found=found))
        for name, value in (("num_slices", self.num_slices), ("slice_len", self.slice_len)):
            if value is not None:
                object.__setattr__(self, name, whole_number(self.component, name, value, least=1))
        if self.uniform_over not in ("trajectories", "starts"):
            expected = '"trajectories" or "starts"'
            raise ValueError(message(self.component, "uniform_over", expected=expected, found=repr(self.uniform_over)))
        sides = self._sides()
        for side in sides:
            if (
                len(sides) != 2
                or not isinstance(side, int)
                or side < 0
                or (self.slice_len is not None and side >= max(self.slice_len, 2))
            ):
                expected = "booleans or integers from 0 to slice_len - 1, one or a pair"
                raise ValueError(message(self.component, "span", expected=expected, found=repr(self.span)))

    def __str__(self) -> str:
        size = f"slice_len={self.slice_len}" if self.num_slices is None else f"num_slices={self.num_slices}"
        return f"{size}, strict_length={self.strict_length}, span={self.span}"

    def _sides(self) -> tuple[bool | int, bool | int]:
        return self.span if isinstance(self.span, tuple) else (self.span, self.span)

    def cut(self, batch_size: int) -> "SliceCut":
        """Number and length of the slices in a batch.

        Raises:
            ValueError: slices of one length do not fill `batch_size` rows.
        """
        name, given = ("num_slices", self.num_slices) if self.slice_len is None else ("slice_len", self.slice_len)
        assert given is not None
        other, rest = divmod(batch_size, given)
        if rest or not other:
            expected = f"a multiple of {name}={given}"
            raise ValueError(message(self.component, "batch_size", expected=expected, found=batch_size))
        length = other if self.slice_len is None else given
        sides = [length - 1 if side is True else min(int(side), length - 1) for side in self._sides()]
        return SliceCut(batch_size // length, length, sides[0], sides[1], self.strict_length, self.uniform_over)


@final
@dataclass(frozen=True)
class SliceCut:
    """Slices of a batch.

    Args:
        count: how many.
        length: steps in each.
        before: steps of a slice that may lie before its trajectory, and are then left out.
        after: steps of a slice that may lie after its trajectory, and are then left out.
        is_strict: whether trajectories of fewer than `length` steps are left out.
        uniform_over: what is drawn with equal probability.
    """

    count: int
    length: int
    before: int
    after: int
    is_strict: bool
    uniform_over: UniformOver

    @property
    def is_even(self) -> bool:
        """Whether all slices have `length` steps."""
        return self.is_strict and not self.before and not self.after

    def places(self, lengths: Numbers) -> Numbers:
        """In how many places a slice may lie in trajectories of `lengths`, `[n]`."""
        if self.is_even:
            return np.maximum(lengths - (self.length - 1), 0)
        size = np.minimum(lengths, self.length)
        places = lengths - size + 1 + self._left(size) + np.clip(size - 1, 0, self.after)
        return np.where(lengths >= (self.length if self.is_strict else 1), places, 0)

    def weigh(self, lengths: Numbers) -> Numbers:
        """Weights of trajectories of `lengths`, `[n]`."""
        places = self.places(lengths)
        return places if self.uniform_over == "starts" else np.minimum(places, 1)

    def lay(self, lengths: Numbers, places: Numbers) -> tuple[Numbers, Numbers]:
        """Where slices lie.

        Args:
            lengths: `[n]`, steps of the trajectories.
            places: `[n]`, one of the places in each, from 0.
        Returns:
            `[n]`, the steps of the trajectory before the slice, and `[n]`, those in the slice.
        """
        if self.is_even:
            return places, np.full_like(lengths, self.length)
        size = np.minimum(lengths, self.length)
        begin = places - self._left(size)
        end = np.minimum(begin + size, lengths)
        begin = np.maximum(begin, 0)
        return begin, end - begin

    def _left(self, size: Numbers) -> Numbers:
        return np.clip(size - 1, 0, self.before)
