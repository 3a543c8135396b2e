"""Where the stored trajectories lie, kept up to date at the cost of what was written since."""

from collections.abc import Callable
from typing import TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray

from rl_buffers._boundaries import Boundaries
from rl_buffers._ring import Ring
from rl_buffers._storage import Storage
from rl_buffers._tally import Tally

Numbers: TypeAlias = NDArray[np.int64]
Weigh: TypeAlias = Callable[[Numbers], Numbers]
_NONE = 2**62


@final
class TrajectoryIndex:
    """First and last step of every stored trajectory, with weights to draw them by.

    Each trajectory has a slot: those that go on in the slots `0` to `lanes - 1`, the ended ones after them in the order
    in which they ended. An ended trajectory is entered once; from then on only the oldest one of each lane, whose
    beginning the ring overwrites, changes its weight, until it is gone. Steps are those of `ring`.

    Args:
        boundaries: where trajectories end.
    """

    def __init__(self, boundaries: Boundaries) -> None:
        self.ring = Ring()
        self._boundaries = boundaries
        self._generation = -1
        self._known = 0
        self._weigh: Weigh | None = None

    def update(self, storage: Storage, weigh: Weigh) -> Tally:
        """Take in what was written since the last call.

        Args:
            storage: where the rows are.
            weigh: weights, `[n]`, of trajectories of lengths `[n]`; the same object as long as it means the same.
        Returns:
            The weights of the slots.
        """
        ring = self.ring
        ring.follow(storage)
        is_other, self._weigh = weigh is not self._weigh, weigh
        if self._generation != ring.generation or ring.stop - self._known > ring.size - ring.lanes:
            self._rebuild(storage)
            return self._tally
        if ring.is_replaced:
            self._replace(storage, ring.take_replaced().numpy())
        if self._known != ring.stop:
            low = max(self._known - ring.lanes, ring.start) if self._boundaries.has_ids else self._known
            self._enter(low + self._boundaries.flags(storage, ring, low, ring.stop).numpy().nonzero()[0])
            self._known = ring.stop
        if is_other:
            self._set_weights(self.slots())
        return self._tally

    def slots(self) -> Numbers:
        """Slots of all stored trajectories, `[n]`."""
        return np.concatenate([np.arange(self.ring.lanes), np.arange(self._head, self._tail)])

    def slots_at(self, positions: Numbers) -> Numbers:
        """The slots at some positions of `slots()`."""
        lanes = self.ring.lanes
        return np.where(positions < lanes, positions, positions + (self._head - lanes))

    def extents(self, slots: Numbers) -> tuple[Numbers, Numbers]:
        """First stored step and number of stored steps of some trajectories, `[n]` each."""
        lanes, start = self.ring.lanes, self.ring.start
        first = self._first[slots]
        if lanes == 1:
            first = np.maximum(first, start)
            length = self._last[slots] - first + 1
        else:
            first += (np.maximum(start - first, 0) + (lanes - 1)) // lanes * lanes
            length = (self._last[slots] - first) // lanes + 1
        return first, np.maximum(length, 0)

    def _rebuild(self, storage: Storage) -> None:
        """Find all trajectories anew, from all rows."""
        ring = self.ring
        self._boundaries.resolve(storage)
        ring.take_replaced()
        flags = self._boundaries.flags(storage, ring, ring.start, ring.stop).numpy()
        flags[ring.cuts().numpy() - ring.start] = True
        self._clear_tables()
        self._enter(ring.start + flags.nonzero()[0])
        self._known, self._generation = ring.stop, ring.generation

    def _replace(self, storage: Storage, steps: Numbers) -> None:
        """Rows were replaced in place: trajectories are joined or parted where their flags or ids now differ."""
        ring = self.ring
        if self._boundaries.has_ids:
            steps = np.unique(np.concatenate([steps, steps - ring.lanes]))
        steps = steps[(steps >= ring.start) & (steps < self._known)]
        is_last = self._boundaries.flags_of(storage, ring, torch.from_numpy(steps)).numpy()
        is_last |= np.isin(steps, ring.cuts().numpy())
        ended = self._last[self._head : self._tail]
        if np.array_equal(is_last, np.isin(steps, ended)):
            return
        kept = ended[(ended >= ring.start) & ~np.isin(ended, steps)]
        self._clear_tables()
        self._enter(np.sort(np.concatenate([kept, steps[is_last]])))

    def _clear_tables(self) -> None:
        lanes, start = self.ring.lanes, self.ring.start
        self._head = self._tail = lanes
        self._allocate(lanes + 64)
        self._lanes = np.arange(lanes)
        self._first[:lanes] = start + (self._lanes - start) % lanes
        self._oldest = np.full(lanes, _NONE)
        self._newest = np.full(lanes, _NONE)

    def _allocate(self, size: int) -> None:
        """Tables of `size` slots: first step, last step, and the slot of the next trajectory in the lane."""
        self._table = np.zeros((3, size), dtype=np.int64)
        self._first, self._last, self._next = self._table
        self._tally = Tally(size)

    def _enter(self, ends: Numbers) -> None:
        """Enter trajectories that ended with the steps `ends`, `[n]`, sorted; forget those overwritten."""
        lanes, stop = self.ring.lanes, self.ring.stop
        ends = ends[ends >= self._first[ends % lanes]]
        count = len(ends)
        if count:
            self._make_room(count)
            slots = np.arange(self._tail, self._tail + count)
            self._tail += count
            order = (ends % lanes).argsort(kind="stable")
            by_lane, slot = ends[order], slots[order]
            lane = by_lane % lanes
            is_first, is_last = np.ones(count, dtype=np.bool_), np.ones(count, dtype=np.bool_)
            is_first[1:] = is_last[:-1] = lane[1:] != lane[:-1]
            before = np.roll(by_lane, 1) + lanes
            before[is_first] = self._first[lane[is_first]]
            self._first[slot], self._last[slot] = before, by_lane
            self._first[lane[is_last]] = by_lane[is_last] + lanes
            self._link(slot, lane, is_first, is_last)
        self._last[:lanes] = stop - 1 - (stop - 1 - self._lanes) % lanes
        self._forget()
        new = self._tail - count
        changed = [self._lanes, self._oldest[self._oldest < new]]
        self._set_weights(np.concatenate([*changed, np.arange(new, self._tail)] if count else changed))

    def _link(self, slot: Numbers, lane: Numbers, is_first: NDArray[np.bool_], is_last: NDArray[np.bool_]) -> None:
        """Chain the slots of each lane, given side by side in the order of time."""
        self._next[slot[:-1]] = slot[1:]
        self._next[slot[is_last]] = _NONE
        first_slot, first_lane = slot[is_first], lane[is_first]
        newest = self._newest[first_lane]
        has_older = newest < _NONE
        self._next[newest[has_older]] = first_slot[has_older]
        is_only = self._oldest[first_lane] == _NONE
        self._oldest[first_lane[is_only]] = first_slot[is_only]
        self._newest[lane[is_last]] = slot[is_last]

    def _forget(self) -> None:
        """Drop the trajectories of which no step is left: they are the ones that ended first."""
        start = self.ring.start
        if self._head == self._tail or self._last[self._head] >= start:
            return
        head = self._head + int(self._last[self._head : self._tail].searchsorted(start))
        gone = np.arange(self._head, head)
        self._head = head
        self._tally.set(gone, np.zeros_like(gone))
        np.maximum.at(self._oldest, self._last[gone] % self.ring.lanes, self._next[gone])
        self._newest[self._oldest == _NONE] = _NONE

    def _make_room(self, count: int) -> None:
        """Have `count` free slots at the end, by moving all to the front or to larger tables."""
        if self._tail + count <= len(self._first):
            return
        lanes, live = self.ring.lanes, self._tail - self._head
        size = max(64, 2 * (live + count)) + lanes
        shift = self._head - lanes
        table, head, tail = self._table, self._head, self._tail
        self._allocate(size)
        self._table[:, :lanes] = table[:, :lanes]
        self._table[:, lanes : lanes + live] = table[:, head:tail]
        for links in (self._next[lanes : lanes + live], self._oldest, self._newest):
            links[links < _NONE] -= shift
        self._head, self._tail = lanes, lanes + live
        self._set_weights(self.slots())

    def _set_weights(self, slots: Numbers) -> None:
        assert self._weigh is not None
        _, length = self.extents(slots)
        self._tally.set(slots, np.where(length > 0, self._weigh(length), 0))
