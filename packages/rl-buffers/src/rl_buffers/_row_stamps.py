"""Which writing of a row a batch was drawn from."""

from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray


@final
class RowStamps:
    """A number for every row, a new one each time that it is written; 0 where there is no row.

    Args:
        capacity: number of rows.
    """

    __slots__ = ("_clock", "_count", "_stamps")

    def __init__(self, capacity: int) -> None:
        self._stamps = np.zeros(capacity, dtype=np.int64)
        self._clock = 0
        self._count = 0

    @property
    def count(self) -> int:
        """Rows `0` to `count - 1` are there."""
        return self._count

    @property
    def capacity(self) -> int:
        """Number of rows that there can be."""
        return len(self._stamps)

    def write(self, start: int, stop: int) -> None:
        """Rows `start` to `stop - 1`, where `start <= count`, were written."""
        self._clock += 1
        self._stamps[start:stop] = self._clock
        self._count = max(self._count, stop)

    def rewrite(self, rows: NDArray[np.int64]) -> None:
        """Rows `[n]`, all there already, were written."""
        self._clock += 1
        self._stamps[rows] = self._clock

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Stamps `[n]` of rows `[n]`."""
        return self._stamps.take(rows)

    def clear(self) -> None:
        """There are no rows any more. Stamps given later are new all the same."""
        self._stamps[: self._count] = 0
        self._count = 0

    def state_dict(self) -> dict[str, Any]:
        """Stamps of the rows that are there, and the last one given."""
        return {"stamps": torch.from_numpy(self._stamps[: self._count].copy()), "clock": self._clock}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        stamps = state["stamps"].cpu().numpy()
        self._stamps.fill(0)
        self._count = len(stamps)
        self._stamps[: self._count] = stamps
        self._clock = state["clock"]
