"""Integer weights of numbered slots: changed a few at a time, drawn from in proportion."""

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

_SHIFT = 6
_BLOCK = 1 << _SHIFT


@final
class Tally:
    """Weights of the slots `0` to `capacity - 1`, all zero at first.

    Slots are summed in blocks, so that changing some costs time in proportion to their number, and finding some a
    look at the sums and at one block each.

    Args:
        capacity: number of slots.
    """

    def __init__(self, capacity: int) -> None:
        blocks = max(1, -(-capacity >> _SHIFT))
        self._weights = np.zeros((blocks, _BLOCK), dtype=np.int64)
        self._slots = self._weights.reshape(-1)
        self._sums = np.zeros(blocks, dtype=np.int64)
        self._running = self._sums
        self._is_stale = True

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what shares the memory of another array."""
        return {name: value for name, value in self.__dict__.items() if name != "_slots"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state."""
        self.__dict__.update(state)
        self._slots = self._weights.reshape(-1)

    @property
    def total(self) -> int:
        """Sum of all weights."""
        return int(self._ends()[-1])

    def set(self, slots: NDArray[np.int64], weights: NDArray[np.int64]) -> None:
        """Give `slots` (`[n]`, no two equal) their `weights` (`[n]`, not negative)."""
        change = weights - self._slots[slots]
        self._slots[slots] = weights
        np.add.at(self._sums, slots >> _SHIFT, change)
        self._is_stale = True

    def find(self, targets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The slots at some places of the running sum of weights.

        Args:
            targets: `[n]`, from 0 to `total - 1`.
        Returns:
            `[n]`, the slot in whose weight each target falls, and `[n]`, how far into it.
        """
        ends = self._ends()
        block = ends.searchsorted(targets, side="right")
        rest = targets - ends[block] + self._sums[block]
        inside = self._weights[block].cumsum(1)
        within = (inside <= rest[:, None]).sum(1)
        slot = (block << _SHIFT) + within
        before = inside[np.arange(len(within)), within] - self._slots[slot]
        return slot, rest - before

    def _ends(self) -> NDArray[np.int64]:
        if self._is_stale:
            self._running = self._sums.cumsum()
            self._is_stale = False
        return self._running
