"""Which rows were written since when, by chunks of rows: what a second checkpoint has to write again."""

from copy import copy
from typing import final

_LEAST, _MOST, _AIM = 1 << 20, 1 << 26, 256
"""A chunk has 1 MiB to 64 MiB; in between a full table has 256 of them."""


@final
class Chunks:
    """Stamps of the chunks of a storage: the number that `now` had when a chunk was last written.

    Args:
        max_size: capacity in rows.
        row_bytes: size of a row.
    """

    __slots__ = ("_saves", "_stamps", "now", "rows")

    def __init__(self, max_size: int, row_bytes: int) -> None:
        size = min(max(max_size * row_bytes // _AIM, _LEAST), _MOST)
        self.rows = min(max(size // max(row_bytes, 1), 1), max_size)
        """Rows in a chunk; the last one may have fewer."""
        self.now = 1
        """Goes up by one when a checkpoint is made."""
        self._stamps = [0] * -(-max_size // self.rows)
        self._saves: dict[str, int] = {}

    def mark(self, start: int, stop: int) -> None:
        """Rows between `start` and `stop` were written."""
        first, last = start // self.rows, (stop - 1) // self.rows
        if first == last:
            self._stamps[first] = self.now
            return
        for chunk in range(first, last + 1):
            self._stamps[chunk] = self.now

    def saved(self, name: str) -> None:
        """All rows of now are in the checkpoint `name`, which no other has been called."""
        for earlier in list(self._saves)[:-3]:
            del self._saves[earlier]
        self._saves[name] = self.now
        self.now += 1

    def freeze(self) -> "Chunks":
        """The chunks of now, for a checkpoint made later; what is marked from now on counts as written after it."""
        twin = copy(self)  # with the same names of checkpoints
        twin._stamps = self._stamps.copy()
        self.now += 1
        return twin

    def is_unchanged(self, chunk: int, name: str) -> bool:
        """Whether a chunk is known to be as it is in the checkpoint `name`."""
        stamp = self._saves.get(name)
        return stamp is not None and self._stamps[chunk] <= stamp

    def spans(self, length: int) -> list[slice]:
        """The chunks that hold the first `length` rows."""
        return [slice(start, min(start + self.rows, length)) for start in range(0, length, self.rows)]
