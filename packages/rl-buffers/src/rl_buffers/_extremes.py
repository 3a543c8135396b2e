"""The smallest positive and the largest of many numbers that change a few at a time."""

from math import inf
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@final
class Extremes:
    """Smallest positive and largest entry of a table, told of every write.

    Both are remembered with the place of an entry that has the value. Only when that very entry loses it they are
    searched for again, among the extremes of the table's rows, after those of rows written meanwhile were renewed: each
    write costs constant time in the long run.

    Args:
        table: float64 `[rows, width]`, non-negative; written by others, read here. All zero at first.
    """

    __slots__ = (
        "_largest",
        "_largest_place",
        "_row_largest",
        "_row_smallest",
        "_shift",
        "_smallest",
        "_smallest_place",
        "_stale",
        "_table",
    )

    def __init__(self, table: Tensor) -> None:
        rows, width = table.shape
        self._table = table
        self._shift = width.bit_length() - 1
        self._row_largest = np.zeros(rows)
        self._row_smallest = np.full(rows, inf)
        self._stale = np.zeros(rows, dtype=np.bool_)
        self._largest, self._largest_place = 0.0, -1
        self._smallest, self._smallest_place = inf, -1

    def clear(self) -> None:
        """The table is all zero again."""
        self._row_largest.fill(0.0)
        self._row_smallest.fill(inf)
        self._stale.fill(False)
        self._largest, self._largest_place = 0.0, -1
        self._smallest, self._smallest_place = inf, -1

    def reload(self) -> None:
        """Anything in the table may have changed."""
        self._stale.fill(True)
        self._search()

    def wrote(self, places: NDArray[np.int64], values: NDArray[np.float64], table: NDArray[np.float64]) -> None:
        """The table has new values.

        Args:
            places: `[n]`, n >= 1; of a place that is there twice the last value holds.
            values: `[n]`.
            table: the table, flat.
        """
        self._stale[places >> self._shift] = True
        most = values.argmax()
        value = float(values[most])
        if value >= self._largest and value > 0.0:
            place = int(places[most])
            self._largest, self._largest_place = value, place if table[place] == value else _UNKNOWN
        elif self._largest_place >= 0 and table[self._largest_place] != self._largest:
            self._largest_place = _UNKNOWN
        least = values.argmin()
        value = float(values[least])
        if value <= self._smallest:
            place = int(places[least])
            self._smallest, self._smallest_place = value, place if table[place] == value > 0.0 else _UNKNOWN
        elif self._smallest_place >= 0 and table[self._smallest_place] != self._smallest:
            self._smallest_place = _UNKNOWN

    def filled(self, start: int, stop: int, value: float) -> None:
        """Places `start` to `stop - 1`, at least one, all have `value`."""
        self._stale[start >> self._shift : ((stop - 1) >> self._shift) + 1] = True
        if value >= self._largest and value > 0.0:
            self._largest, self._largest_place = value, stop - 1
        elif start <= self._largest_place < stop:
            self._largest_place = _UNKNOWN
        if 0.0 < value <= self._smallest:
            self._smallest, self._smallest_place = value, stop - 1
        elif start <= self._smallest_place < stop:
            self._smallest_place = _UNKNOWN

    def largest(self) -> float:
        """The largest entry: 0 when all are 0."""
        if self._largest_place == _UNKNOWN:
            self._search()
        return self._largest

    def largest_place(self) -> int:
        """Where an entry as large as the largest is; -1 when all are 0."""
        if self._largest_place == _UNKNOWN:
            self._search()
        return self._largest_place

    def smallest(self) -> float:
        """The smallest entry above 0: infinite when there is none."""
        if self._smallest_place == _UNKNOWN:
            self._search()
        return self._smallest

    def _search(self) -> None:
        stale = np.flatnonzero(self._stale)
        if stale.size:
            rows = torch.index_select(self._table, 0, torch.from_numpy(stale))
            self._row_largest[stale] = rows.amax(1).numpy()
            self._row_smallest[stale] = torch.where(rows > 0.0, rows, inf).amin(1).numpy()
            self._stale[stale] = False
        row = int(self._row_largest.argmax())
        self._largest = float(self._row_largest[row])
        self._largest_place = self._place(row, self._largest) if self._largest > 0.0 else -1
        row = int(self._row_smallest.argmin())
        self._smallest = float(self._row_smallest[row])
        self._smallest_place = self._place(row, self._smallest) if self._smallest < inf else -1

    def _place(self, row: int, value: float) -> int:
        return (row << self._shift) + int((self._table[row].numpy() == value).argmax())


_UNKNOWN = -2
"""Place of an extreme that must be searched for. What was the largest bounds the entries from above until then, what
was the smallest from below."""
