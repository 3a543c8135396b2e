"""The ring: rows are written one after another, and from the first row again after the last."""

from typing import Any, final

from rl_buffers._ring_writer import RingWriter
from rl_buffers._storage import Storage, Where


@final
class RoundRobinWriter(RingWriter):
    """A ring: rows are written one after another, from the first row again after the last.

    Of a batch larger than the storage the last `max_size` rows are kept, where they would be had the rows been written
    one by one.
    """

    def prepare(self, storage: Storage, data: Any, *, is_row: bool, where: Where | None = None) -> Any:
        """`data`: nothing is added."""
        return data
