"""Where the episodes of a ring begin and end, kept in step with what is written."""

from typing import final

import torch
from torch import Tensor


@final
class EpisodeIndex:
    """Episodes of the rows of a ring, which hold consecutive steps.

    Rows are counted from the first ever written; row `number % size` of the ring holds the last of that number. The
    ends of episodes are kept in that count, in order, so that the episode of a row is found by bisection. An episode
    never reaches over the seam between the newest and the oldest row: what was overwritten of it is not part of it.

    Args:
        size: capacity of the ring, in rows.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._ends = torch.empty(16, dtype=torch.int64)
        self._count = 0
        self._written = 0

    def extend(self, rows: int, ends: Tensor) -> None:
        """Rows were written.

        Args:
            rows: how many; of more than `size` the first are not there any more.
            ends: int64 `[n]`, ascending: after how many of these rows an episode ends, 0 for before the first one.
        """
        count, added = self._count, len(ends)
        if count + added >= len(self._ends):
            kept = self._ends[:count]
            kept = kept[kept > self._written + rows - self._size]
            count = len(kept)
            self._ends = torch.cat([kept, torch.empty(count + 2 * added + 16, dtype=torch.int64)])
        self._ends[count : count + added] = ends + self._written
        self._count = count + added
        self._written += rows
        self._ends[self._count] = self._written  # where the last episode ends so far

    @property
    def written(self) -> int:
        """Rows written so far, those that were overwritten since too."""
        return self._written

    def bounds(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The episodes of some rows.

        Args:
            index: int64 `[n]` numbers of rows of the ring that were written.
        Returns:
            Three int64 `[n]`, in the count of all rows ever written: the row itself, the first one of its episode that
            is still there, and the one after the last.
        """
        number = index + self._size * ((self._written - 1 - index) // self._size)
        place = torch.searchsorted(self._ends[: self._count], number, right=True)
        oldest = max(0, self._written - self._size)
        first = torch.where(place > 0, self._ends[place - 1], oldest).clamp_(min=oldest)
        return number, first, self._ends[place]
