"""The ring: rows are written one after another, and from the first row again after the last."""

from typing import Any, final

import torch
from torch import Tensor

from rl_buffers._storage import Block, Storage
from rl_buffers._writer import Writer


@final
class RoundRobinWriter(Writer):
    """A ring: rows are written one after another, from the first row again after the last.

    Of a batch larger than the storage the last `max_size` rows are kept, where they would be had the rows been written
    one by one.
    """

    def __init__(self) -> None:
        self._cursor = 0

    def extend(self, storage: Storage, block: Block) -> Tensor:
        """See `Writer.extend`; for a batch larger than the storage, numbers of the rows kept."""
        size, count = storage.max_size, block.count
        skipped = max(0, count - size)
        start = (self._cursor + skipped) % size
        kept = count - skipped
        head = min(kept, size - start)
        if head == count:
            storage.write(slice(start, start + head), block)
        elif head:
            storage.write(slice(start, start + head), block, slice(skipped, skipped + head))
        if head < kept:
            storage.write(slice(0, kept - head), block, slice(skipped + head, count))
        self._cursor = (start + kept) % size
        index = torch.arange(start, start + kept)
        return index if head == kept else index.remainder_(size)

    def add(self, storage: Storage, block: Block) -> int:
        """See `Writer.add`."""
        index = self._cursor
        storage.write(index, block)
        self._cursor = (index + 1) % storage.max_size
        return index

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
        return f"RoundRobinWriter(cursor={self._cursor})"
