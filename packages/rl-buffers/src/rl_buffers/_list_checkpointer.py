"""Rows inside the file of the checkpoint."""

from pathlib import Path
from typing import Any, ClassVar, final

from rl_buffers._checkpointer import StorageCheckpointerBase, Target
from rl_buffers._rows import Rows, RowStore


@final
class ListStorageCheckpointer(StorageCheckpointerBase):
    """For any storage: its whole state in the one file of the checkpoint; compressed rows stay compressed."""

    name: ClassVar[str] = "list"

    def save(self, storage: Rows, target: Target) -> dict[str, Any]:
        """See `StorageCheckpointerBase.save`."""
        return {**storage.state_dict(), "saved": {"checkpointer": self.name, "files": {}}}

    def load(self, storage: RowStore, folder: Path, state: dict[str, Any]) -> None:
        """See `StorageCheckpointerBase.load`."""
        storage.load_state_dict(state)
