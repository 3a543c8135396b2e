"""Priorities of the rows in which a slice may begin."""

from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rl_buffers._boundaries import Boundaries
from rl_buffers._ring import Ring, distinct
from rl_buffers._storage import Storage
from rl_buffers._sum_tree import SumTree


@final
class StartTree:
    """A sum tree of the leaves of the rows in which a slice may begin; the others count as 0.

    Args:
        capacity: number of rows.
        boundaries: where trajectories end.
        is_strict: False for a trajectory shorter than a slice to have one in its first row that is stored.
    """

    def __init__(self, capacity: int, boundaries: Boundaries, is_strict: bool) -> None:
        self.tree = SumTree(capacity)
        self.ring = Ring()
        self.count = 0
        self._boundaries = boundaries
        self._is_strict = is_strict
        self._lengths = np.zeros(capacity, dtype=np.int32)
        self._generation = -1
        self._known = self._start = 0
        self._length = 0

    def lengths(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """Steps, `[n]`, of the slices that begin in rows `[n]`: 0 where none does."""
        return self._lengths.take(rows)

    def refresh(self, rows: NDArray[np.int64], leaves: NDArray[np.float64]) -> None:
        """The leaves of rows `[n]` have changed; `leaves` are those of all rows."""
        self.tree.set(rows, leaves.take(rows) * (self._lengths.take(rows) > 0))

    def update(self, storage: Storage, length: int, leaves: NDArray[np.float64]) -> None:
        """Take in what was written since the last call.

        Args:
            storage: where the rows are.
            length: steps in a slice.
            leaves: leaves of all rows, as they are now.
        """
        ring = self.ring
        ring.follow(storage)
        reach = (length - 1) * ring.lanes
        replaced = ring.take_replaced()
        is_lost = self._generation != ring.generation or length != self._length
        if is_lost or ring.stop - self._known > ring.size - ring.lanes or len(replaced) * length**2 > len(storage):
            self._boundaries.resolve(storage)
            self.tree.clear()
            self._lengths.fill(0)
            self.count = 0
            self._length, self._generation = length, ring.generation
            self._enter(self._run(storage, ring.start), torch.arange(ring.start, ring.stop), leaves)
        else:
            if ring.stop != self._known:
                low = max(self._known - reach, ring.start)
                self._enter(self._run(storage, low), torch.arange(low, ring.stop), leaves)
            some = [(replaced.unsqueeze(1) - torch.arange(0, reach + ring.lanes, ring.lanes)).view(-1)]
            if not self._is_strict:  # a row may have become the first of its trajectory
                some += [replaced + ring.lanes, ring.start + torch.arange(ring.lanes * (ring.start != self._start))]
            steps = distinct(torch.cat(some))
            steps = steps[(steps >= ring.start) & (steps < ring.stop)]
            if len(steps):
                self._enter(self._scattered(storage, steps), steps, leaves)
        self._known, self._start = ring.stop, ring.start

    def _enter(self, lengths: Tensor, steps: Tensor, leaves: NDArray[np.float64]) -> None:
        rows = self.ring.rows_of(steps).numpy()
        before = self._lengths.take(rows)
        now = lengths.to(torch.int32).numpy()
        self.count += int(np.count_nonzero(now)) - int(np.count_nonzero(before))
        self._lengths[rows] = now
        self.tree.set(rows, leaves.take(rows) * (now > 0))

    def _run(self, storage: Storage, low: int) -> Tensor:
        """Lengths of the slices that begin in the steps from `low` to the newest."""
        ring, lanes = self.ring, self.ring.lanes
        first = max(low - lanes, ring.start)
        flags = self._boundaries.flags(storage, ring, first, ring.stop)
        cuts = ring.cuts()
        flags[cuts[cuts >= first] - first] = True
        flags[max(0, len(flags) - lanes) :] = True
        count = len(flags)
        front = -count % lanes
        numbers = torch.arange(count)
        ends = torch.full((front + count,), count + lanes)
        ends[front:] = torch.where(flags, numbers, count + lanes)
        ends = ends.view(-1, lanes).flip(0).cummin(0).values.flip(0).reshape(-1)[front:]
        left = torch.div(ends - numbers, lanes, rounding_mode="floor") + 1
        is_first = torch.ones(count, dtype=torch.bool)
        is_first[lanes:] = flags[: count - lanes] if count > lanes else is_first[:0]
        if first < low:
            left, is_first = left[low - first :], is_first[low - first :]
        return self._whole(left, is_first)

    def _scattered(self, storage: Storage, steps: Tensor) -> Tensor:
        """Lengths of the slices that begin in some steps."""
        lanes = self.ring.lanes
        ahead = steps.unsqueeze(1) + torch.arange(-1, self._length - 1) * lanes
        is_stored = (ahead >= self.ring.start) & (ahead < self.ring.stop)
        is_end = ~is_stored
        known = ahead[is_stored]
        flags = self._boundaries.flags_of(storage, self.ring, known) | torch.isin(known, self.ring.cuts())
        is_end[is_stored] = flags | (known >= self.ring.stop - lanes)
        after = is_end[:, 1:]
        left = (~after).to(torch.int64).cumprod(1).sum(1) + 1
        return self._whole(left, is_end[:, 0])

    def _whole(self, left: Tensor, is_first: Tensor) -> Tensor:
        """Lengths of slices by the steps left in the trajectory (up to the length at least)."""
        is_full = left >= self._length
        if self._is_strict:
            return is_full * self._length
        return torch.where(is_full, self._length, left * is_first)
