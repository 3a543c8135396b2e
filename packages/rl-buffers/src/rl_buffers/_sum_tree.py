"""Non-negative numbers and the sums of groups of them, for draws in proportion to them."""

from collections.abc import Iterator
from math import nextafter
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rl_buffers._extremes import Extremes

_SHIFT = 5
_FAN_OUT = 1 << _SHIFT
_LARGEST_TOP = 1 << 15
"""Nodes of the topmost level at most: it is summed up as a whole, which for so many costs what a level costs."""
_LARGEST_BACKLOG = 64
"""Writes that may wait for their sums."""


@final
class SumTree:
    """`capacity` numbers ("leaves"), and above each 32 nodes of a level their sum, up to a level of a few thousand.

    Sums are added up from the nodes below, one after the other in order, whenever any of those has changed; never
    adjusted by a difference. So they depend on the leaves alone, bit by bit, and no error builds up. They are renewed
    when they are next needed. Everything is float64 and on the CPU.

    Args:
        capacity: number of leaves, at least 1. All are 0 at first.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._levels: list[NDArray[np.float64]] = []
        count = capacity
        while count > _LARGEST_TOP or not self._levels:
            groups = -(-count // _FAN_OUT)
            self._levels.append(np.zeros((groups, _FAN_OUT)))
            count = groups
        self._top = np.zeros(count)
        self._ends = np.zeros(count + 1)
        with torch.inference_mode(False):
            self._tables = [torch.from_numpy(level) for level in self._levels]
            self._top_tensor = torch.from_numpy(self._top)
            self._ends_tensor = torch.from_numpy(self._ends)[1:]
        self._leaves = self._levels[0].reshape(-1)
        self._sums = [level.reshape(-1) for level in self._levels[1:]] + [self._top]
        self._stale_groups: list[NDArray[np.int64]] = []
        self._stale_ranges: list[tuple[int, int]] = []
        self._extremes = Extremes(self._tables[0])

    def __reduce__(self) -> tuple[Any, ...]:
        """A tree with these leaves: its arrays share memory, which copies of each would not."""
        return _loaded, (self._capacity, self.leaves.copy())

    def __len__(self) -> int:
        """Number of leaves."""
        return self._capacity

    def __getitem__(self, place: int) -> float:
        """One leaf."""
        return float(self.leaves[place])

    def __iter__(self) -> Iterator[float]:
        """The leaves, one after the other."""
        return iter(self.leaves.tolist())

    @property
    def leaves(self) -> NDArray[np.float64]:
        """`[capacity]`, only to be read; it changes with the tree."""
        return self._leaves[: self._capacity]

    def set(self, places: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Give leaves other values.

        Args:
            places: `[n]`, within the capacity; of a place that is there twice the last value holds.
            values: `[n]`, finite and not negative.
        """
        if not places.size:
            return
        self._leaves[places] = values
        self._extremes.wrote(places, values, self._leaves)
        self._stale_groups.append(places >> _SHIFT)
        if len(self._stale_groups) > _LARGEST_BACKLOG:
            self._renew()

    def fill(self, start: int, stop: int, value: float) -> None:
        """Give the leaves from `start` to `stop - 1` one value, finite and not negative."""
        if start >= stop:
            return
        self._leaves[start:stop] = value
        self._extremes.filled(start, stop, value)
        first, last = start >> _SHIFT, ((stop - 1) >> _SHIFT) + 1
        ranges = self._stale_ranges
        if ranges and first <= ranges[-1][1] and last >= ranges[-1][0]:
            ranges[-1] = (min(first, ranges[-1][0]), max(last, ranges[-1][1]))
            return
        ranges.append((first, last))
        if len(ranges) > _LARGEST_BACKLOG:
            self._renew()

    def clear(self) -> None:
        """All leaves are 0 again."""
        for level in self._levels:
            level.fill(0.0)
        self._top.fill(0.0)
        self._ends.fill(0.0)
        self._stale_groups, self._stale_ranges = [], []
        self._extremes.clear()

    def load(self, values: NDArray[np.float64]) -> None:
        """Give the first leaves the values `[n]`, n <= capacity, and the others 0."""
        self.clear()
        self._leaves[: len(values)] = values
        self._stale_ranges.append((0, len(self._levels[0])))
        self._extremes.reload()

    @property
    def total(self) -> float:
        """Sum of all leaves."""
        self._renew()
        return float(self._ends[-1])

    def largest(self) -> float:
        """The largest leaf: 0 when all are 0."""
        return self._extremes.largest()

    def largest_place(self) -> int:
        """Where a leaf as large as the largest is; -1 when all are 0."""
        return self._extremes.largest_place()

    def smallest(self) -> float:
        """The smallest leaf above 0: infinite when there is none."""
        return self._extremes.smallest()

    def find(self, targets: NDArray[np.float64]) -> NDArray[np.int64]:
        """Where running sums of the leaves first exceed given numbers.

        A leaf of 0 is never found: the running sum at the leaf found is greater than the one before it, as rounded.

        Args:
            targets: `[n]`, from 0 to `total`, which must be positive; what rounding took to `total` finds the last
                leaf that is not 0.
        Returns:
            `[n]` places.
        """
        self._renew()
        ends = self._ends
        rest = np.minimum(targets, nextafter(float(ends[-1]), 0.0))
        node: NDArray[np.int64] = ends[1:].searchsorted(rest, side="right")
        rest -= ends.take(node)
        for depth in range(len(self._levels) - 1, -1, -1):
            sums = torch.from_numpy(self._levels[depth].take(node, 0)).cumsum(1).numpy()
            is_late = rest >= sums[:, -1]
            if is_late[is_late.argmax()]:
                rest = np.minimum(rest, np.nextafter(sums[:, -1], 0.0))
            child = (sums > rest[:, None]).argmax(1)
            node = (node << _SHIFT) + child
            if depth:
                before = np.arange(-1, sums.size - 1, _FAN_OUT) + child
                rest -= np.where(child > 0, sums.reshape(-1).take(before), 0.0)
        return node

    def _renew(self) -> None:
        """Add up the sums above leaves that have changed."""
        if not self._stale_groups and not self._stale_ranges:
            return
        for first, last in self._stale_ranges:
            for table, sums in zip(self._tables, self._sums, strict=True):
                sums[first:last] = _row_sums(table[first:last])
                first, last = first >> _SHIFT, ((last - 1) >> _SHIFT) + 1
        if self._stale_groups:
            groups = self._stale_groups[0] if len(self._stale_groups) == 1 else np.concatenate(self._stale_groups)
            for level, sums in zip(self._levels, self._sums, strict=True):
                sums[groups] = _row_sums(torch.from_numpy(level.take(groups, 0)))
                groups = groups >> _SHIFT
        self._stale_groups, self._stale_ranges = [], []
        torch.cumsum(self._top_tensor, 0, out=self._ends_tensor)


def _loaded(capacity: int, leaves: NDArray[np.float64]) -> SumTree:
    tree = SumTree(capacity)
    tree.load(leaves)
    return tree


def _row_sums(rows: Tensor) -> NDArray[np.float64]:
    """Sum of each row, added up in order: the last of its running sums, which are what a draw searches in."""
    sums: NDArray[np.float64] = rows.cumsum(1).numpy()[:, -1]
    return sums
