"""Where the episodes of a ring begin and end, kept in step with what is written."""

from typing import final

import torch
from torch import Tensor

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
        self._bases = torch.arange(lanes) * _SPAN
        self._ends = self._room(16)
        self._counts = torch.zeros(lanes, dtype=torch.int64)
        self._most = 0
        self._written = 0

    def extend(self, steps: int, lane: Tensor, ends: Tensor) -> None:
        """Steps were written.

        Args:
            steps: how many; of more than `size` the first are not there any more.
            lane: int64 `[n]`, ascending: in which lanes episodes end.
            ends: int64 `[n]`, ascending in each lane: after how many of these steps, 0 for before the first one.
        """
        if len(ends):
            more = torch.bincount(lane, minlength=self._lanes)
            most = int(more.max())
            if self._most + most >= self._ends.shape[1]:
                self._forget(self._written + steps - self._size, most)
            self._append(lane, ends + self._written, more)
        self._written += steps

    def _append(self, lane: Tensor, ends: Tensor, more: Tensor) -> None:
        """Enter ends, in the count of all steps ever written; `more` of them in each lane."""
        rank = torch.arange(len(lane)) - (more.cumsum(0) - more)[lane]
        self._ends[lane, self._counts[lane] + rank] = ends + self._bases[lane]
        self._counts += more
        self._most = int(self._counts.max())

    def _forget(self, oldest: int, added: int) -> None:
        """Drop the ends up to step `oldest`, and have room for `added` more in each lane."""
        steps = self._ends - self._bases.unsqueeze(1)
        lane, place = ((steps > oldest) & (steps < _SPAN - 1)).nonzero().unbind(1)
        kept, more = steps[lane, place], torch.bincount(lane, minlength=self._lanes)
        self._counts.zero_()
        self._ends = self._room(2 * (int(more.max()) + added) + 16)
        self._append(lane, kept, more)

    def _room(self, count: int) -> Tensor:
        """`[lanes, count]` ends that are never reached."""
        return (self._bases + (_SPAN - 1)).unsqueeze(1).repeat(1, count)

    @property
    def written(self) -> int:
        """Steps written so far, those that were overwritten since too."""
        return self._written

    def bounds(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The episodes of some rows.

        Args:
            index: int64 `[n]` numbers of rows that were written: `step * lanes + lane`.
        Returns:
            Four int64 `[n]`: the lane, and, in the count of all steps ever written, the step itself, the first one of
            its episode that is still there, and the one after the last.
        """
        lane, step = index % self._lanes, index // self._lanes
        number = step + self._size * ((self._written - 1 - step) // self._size)
        base, ends = lane * _SPAN, self._ends.view(-1)
        place = torch.searchsorted(ends, number + base, right=True)
        oldest = max(0, self._written - self._size)
        first = torch.where(place > lane * self._ends.shape[1], ends[place - 1] - base, oldest).clamp_(min=oldest)
        return lane, number, first, (ends[place] - base).clamp_(max=self._written)

    def rows(self, lane: Tensor, step: Tensor) -> Tensor:
        """Numbers `[n]` of the rows of some lanes and steps."""
        return step % self._size * self._lanes + lane
