"""Integer weights of numbered slots: changed a few at a time, drawn from in proportion."""

from typing import final

import torch
from torch import Tensor

_BLOCK = 256


@final
class Tally:
    """Weights of the slots `0` to `capacity - 1`, all zero at first.

    Slots are summed in blocks, so that changing some costs time in proportion to their number, and finding some a
    look at the sums and at one block each.

    Args:
        capacity: number of slots.
    """

    def __init__(self, capacity: int) -> None:
        blocks = max(1, -(-capacity // _BLOCK))
        self._weights = torch.zeros(blocks * _BLOCK, dtype=torch.int64)
        self._sums = torch.zeros(blocks, dtype=torch.int64)
        self._cumulative: Tensor | None = None

    @property
    def total(self) -> int:
        """Sum of all weights."""
        return int(self._running()[-1])

    def set(self, slots: Tensor, weights: Tensor) -> None:
        """Give `slots` (int64 `[n]`, no two equal) their `weights` (int64 `[n]`, not negative)."""
        change = weights - self._weights[slots]
        self._weights[slots] = weights
        self._sums.index_add_(0, slots // _BLOCK, change)
        self._cumulative = None

    def find(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The slots at some places of the running sum of weights.

        Args:
            targets: int64 `[n]`, from 0 to `total - 1`.
        Returns:
            int64 `[n]`, the slot in whose weight each target falls, and int64 `[n]`, how far into it.
        """
        running = self._running()
        block = torch.searchsorted(running, targets, right=True)
        rest = targets - running[block] + self._sums[block]
        inside = self._weights.view(-1, _BLOCK)[block].cumsum(1)
        within = (inside <= rest.unsqueeze(1)).sum(1)
        slot = block * _BLOCK + within
        before = inside.gather(1, within.unsqueeze(1)).squeeze(1) - self._weights[slot]
        return slot, rest - before

    def _running(self) -> Tensor:
        if self._cumulative is None:
            self._cumulative = self._sums.cumsum(0)
        return self._cumulative
