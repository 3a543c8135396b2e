"""What rings have in common: rows are written one after another, and from the first row again after the last."""

from abc import ABC
from typing import Any

from torch import Tensor

from rl_buffers._ring_writes import ring_extend, ring_order, ring_start
from rl_buffers._storage import Block, Storage, Where
from rl_buffers._writer import Writer


class RingWriter(Writer, ABC):
    """A ring; see `RoundRobinWriter`."""

    def __init__(self) -> None:
        self._cursor = 0

    def attach(self, storage: Storage) -> None:
        """Go on after the rows that are there."""
        self._cursor = ring_start(storage, self._cursor)

    def extend(self, storage: Storage, block: Block) -> Tensor:
        """See `Writer.extend`; for a batch larger than the storage, numbers of the rows kept."""
        index, self._cursor = ring_extend(storage, block, self._cursor)
        return index

    def add(self, storage: Storage, block: Block) -> int:
        """See `Writer.add`; every row is kept."""
        index = self._cursor
        try:
            storage.write(index, block)
        except BaseException:  # as `write_whole`, without its call
            storage.write(index, block)
            raise
        self._cursor = (index + 1) % storage.max_size
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
