"""Where the episodes of a ring begin and end, kept in step with what is written."""

from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

Numbers: TypeAlias = NDArray[np.int64]

_SPAN = 2**40
"""More than a lane has steps: `lane * _SPAN + step` is sorted by lane, then by step."""


@final
class EpisodeIndex:
    """Episodes of a ring of steps, each of which has a row in every lane; rows of a lane are consecutive in time.

    Steps are counted from the first ever written; step `number % size` of the ring holds the last of that number. The
    ends of episodes are kept in that count, lane by lane and in order, so that the episode of a row is found by
    bisection. An episode never reaches over the seam between the newest and the oldest step: what was overwritten of it
    is not part of it.

    Args:
        size: capacity of the ring, in steps.
        lanes: sequences side by side.
    """

    def __init__(self, size: int, lanes: int = 1) -> None:
        self._size = size
        self._lanes = lanes
        self._bases = np.arange(lanes, dtype=np.int64) * _SPAN
        self._ends = self._room(16)
        self._counts = np.zeros(lanes, dtype=np.int64)
        self._most = 0
        self._written = 0

    def extend(self, steps: int, lane: Numbers, ends: Numbers) -> None:
        """Steps were written.

        Args:
            steps: how many; of more than `size` the first are not there any more.
            lane: `[n]`, ascending: in which lanes episodes end.
            ends: `[n]`, ascending in each lane: after how many of these steps, 0 for before the first one.
        """
        if len(ends):
            more = np.bincount(lane, minlength=self._lanes)
            most = int(more.max())
            if self._most + most >= self._ends.shape[1]:
                self._forget(self._written + steps - self._size, most)
            self._append(lane, ends + self._written, more)
        self._written += steps

    def _append(self, lane: Numbers, ends: Numbers, more: Numbers) -> None:
        """Enter ends, in the count of all steps ever written; `more` of them in each lane."""
        rank = np.arange(len(lane)) - (more.cumsum() - more)[lane]
        self._ends[lane, self._counts[lane] + rank] = ends + self._bases[lane]
        self._counts += more
        self._most = int(self._counts.max())

    def _forget(self, oldest: int, added: int) -> None:
        """Drop the ends up to step `oldest`, and have room for `added` more in each lane."""
        steps = self._ends - self._bases[:, None]
        lane, place = ((steps > oldest) & (steps < _SPAN - 1)).nonzero()
        kept, more = steps[lane, place], np.bincount(lane, minlength=self._lanes)
        self._counts.fill(0)
        self._ends = self._room(2 * (int(more.max()) + added) + 16)
        self._append(lane, kept, more)

    def _room(self, count: int) -> Numbers:
        """`[lanes, count]` ends that are never reached."""
        return (self._bases + (_SPAN - 1))[:, None].repeat(count, 1)

    @property
    def written(self) -> int:
        """Steps written so far, those that were overwritten since too."""
        return self._written

    def bounds(self, index: Numbers) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """The episodes of some rows.

        Args:
            index: `[n]` numbers of rows that were written: `step * lanes + lane`.
        Returns:
            Four `[n]`: the lane, and, in the count of all steps ever written, the step itself, the first one of its
            episode that is still there, and the one after the last.
        """
        step, lane = np.divmod(index, self._lanes)
        number = step + self._size * ((self._written - 1 - step) // self._size)
        base, ends = lane * _SPAN, self._ends.ravel()
        place = ends.searchsorted(number + base, "right")
        oldest = max(0, self._written - self._size)
        first = np.where(place > lane * self._ends.shape[1], ends[place - 1] - base, oldest)
        return lane, number, np.maximum(first, oldest), np.minimum(ends[place] - base, self._written)

    def rows(self, lane: Numbers, step: Numbers) -> Numbers:
        """Numbers `[n]` of the rows of some lanes and steps."""
        rows: Numbers = step % self._size * self._lanes + lane
        return rows
