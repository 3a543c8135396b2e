"""What a checkpointer is: how the rows of a storage become files, and rows again."""

import errno
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rl_buffers._manifest import file_digest, sync
from rl_buffers._storage import Storage
from rl_specs import SpecError, message

ROWS = "rows"
"""The folder, inside that of the checkpoint, for files of rows."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where rows are saved.

    Args:
        folder: that of the checkpoint.
        generation: number of the save; file names that begin with it are not those of an earlier save.
        previous: what an earlier save of the same folder says of the storage; None if there is none.
    """

    folder: Path
    generation: int
    previous: dict[str, Any] | None

    def name(self, end: str) -> str:
        """Name of a new file, from the folder of the checkpoint."""
        return f"{ROWS}/{self.generation:06d}-{end}"

    def assert_room(self, size: int) -> None:
        """Raise `OSError` where the disk has less than `size` bytes left, before anything is written."""
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise OSError(errno.ENOSPC, f"{size:,} bytes are to be written, {free:,} are free")


class StorageCheckpointerBase(ABC):
    """Saves the rows of a storage in a folder, and reads them again.

    New files get new names, and the folder's `buffer.pt`, which names them, is replaced at last: whatever happens
    before leaves the earlier save as it was.
    """

    name: ClassVar[str]
    """What checkpoints call it."""

    @abstractmethod
    def save(self, storage: Storage, target: Target) -> dict[str, Any]:
        """Write rows.

        Returns:
            The state of the storage without its rows; under `"saved"` the name of the checkpointer, `"files"`
            (name to checksum) and whatever else `load` needs.
        """

    @abstractmethod
    def load(self, storage: Storage, folder: Path, state: dict[str, Any]) -> None:
        """Read rows into a storage in which `state`, as `save` returned it, was found to fit."""

    def assert_whole(self, component: str, folder: Path, state: dict[str, Any]) -> None:
        """Check the files of a save.

        Raises:
            SpecError: files are missing or damaged; all of them are named.
        """
        found = []
        for name, checksum in state["saved"]["files"].items():
            path = folder / name
            if not path.is_file():
                found.append(f"{name} is missing")
            elif file_digest(path) != checksum:
                found.append(f"{name} is damaged")
        if found:
            problem = f"the files of {folder} are not those that were saved: " + "; ".join(found)
            raise SpecError(message(component, problem, fix="Nothing was loaded. Load an earlier save"))


def sync_files(folder: Path, names: Sequence[str]) -> None:
    """Force new files and their names to disk."""
    for name in names:
        sync(folder / name)
    for parent in {(folder / name).parent for name in names}:
        sync(parent)


def remove_others(folder: Path, kept: set[str]) -> None:
    """Remove the files of rows that no save needs."""
    rows = folder / ROWS
    if not rows.is_dir():
        return
    for parent, _, names in os.walk(rows, topdown=False):
        for name in names:
            path = Path(parent) / name
            if path.relative_to(folder).as_posix() not in kept:
                path.unlink()
        if not any(Path(parent).iterdir()):
            Path(parent).rmdir()
