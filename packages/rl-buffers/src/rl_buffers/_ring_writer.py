"""What rings have in common: rows are written one after another, and from the first row again after the last."""

from abc import ABC
from typing import Any

from torch import Tensor

from rl_buffers._ring_writes import ring_fill, ring_order, ring_start
from rl_buffers._storage import Block, Storage, Where
from rl_buffers._writer import Writer, write_whole


class RingWriter(Writer, ABC):
    """A ring; see `RoundRobinWriter`."""

    def __init__(self) -> None:
        self._cursor = 0
        self._free: Tensor | None = None

    def attach(self, storage: Storage) -> None:
        """Go on after the rows that are there."""
        self._cursor = ring_start(storage, self._cursor)

    def offer(self, rows: Tensor) -> None:
        """See `Writer.offer`; the next write takes them before it goes on round the ring."""
        self._free = rows if len(rows) else None

    def extend(self, storage: Storage, block: Block) -> Tensor:
        """See `Writer.extend`; for a batch larger than the storage, numbers of the rows kept."""
        index, self._cursor = ring_fill(storage, block, self._cursor, self._free)
        self._free = None
        return index

    def add(self, storage: Storage, block: Block) -> int:
        """See `Writer.add`; every row is kept."""
        if self._free is not None:
            return self._reuse(storage, block, self._free)
        index = self._cursor
        try:
            storage.write(index, block)
        except BaseException:  # as `write_whole`, without its call
            storage.write(index, block)
            raise
        self._cursor = (index + 1) % storage.max_size
        return index

    def _reuse(self, storage: Storage, block: Block, free: Tensor) -> int:
        """Write one row where nobody needs the one that is there."""
        index = int(free[0])
        self._free = None
        write_whole(storage, index, block)
        return index

    def overwrite(self, storage: Storage, where: Where, block: Block) -> None:
        """Allowed; the place of the next row stays."""

    def order(self, storage: Storage) -> Tensor:
        """See `Writer.order`."""
        return ring_order(storage, self._cursor)

    def clear(self) -> None:
        """Start at the first row again."""
        self._cursor = 0

    def state_dict(self) -> dict[str, Any]:
        """The next row to write."""
        return {"cursor": self._cursor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Writer.load_state_dict`."""
        self._cursor = state["cursor"]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(cursor={self._cursor})"
