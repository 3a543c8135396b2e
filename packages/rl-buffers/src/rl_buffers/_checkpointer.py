"""What a checkpointer is: how the rows of a storage become files, and rows again."""

import errno
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from rl_buffers._manifest import file_digest, sync
from rl_buffers._rows import Rows, RowStore
from rl_specs import SpecError, message

Hook: TypeAlias = Callable[[Any, Path], Any]
"""Makes other rows of all rows, given the folder of the checkpoint."""

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

    Hooks change what is saved and what is loaded. They are not part of a checkpoint: register them anew in every
    program. A checkpointer may serve several storages; its hooks then serve all of them.
    """

    name: ClassVar[str]
    """What checkpoints call it."""

    def __init__(self) -> None:
        self._save_hooks: list[Hook] = []
        self._load_hooks: list[Hook] = []

    def register_save_hook(self, hook: Hook) -> None:
        """Save what a callable makes of the rows, after the hooks registered before.

        Args:
            hook: called with all rows in the order of their numbers, one value `[n, ...]` on the CPU or a list of
                rows, and with the folder of the checkpoint. Returns the rows to save, of any number and make; those it
                was given are a copy. It is not called where there are no rows. What it raises ends the save; the
                earlier one is whole.
        """
        self._assert_callable("save hook", hook)
        self._save_hooks.append(hook)

    def register_load_hook(self, hook: Hook) -> None:
        """Load what a callable makes of the rows saved, after the hooks registered before.

        Args:
            hook: called with all rows as they were saved, and with the folder of the checkpoint. Returns as many rows
                as the buffer had, made as the storage keeps them. What it raises ends the load; nothing is changed.
        """
        self._assert_callable("load hook", hook)
        self._load_hooks.append(hook)

    @property
    def save_hooks(self) -> tuple[Hook, ...]:
        """In the order in which they are called."""
        return tuple(self._save_hooks)

    @property
    def load_hooks(self) -> tuple[Hook, ...]:
        """In the order in which they are called."""
        return tuple(self._load_hooks)

    def _assert_callable(self, name: str, hook: object) -> None:
        if not callable(hook):
            expected = "a callable (data, path) that returns data"
            raise TypeError(message(type(self).__name__, name, expected=expected, found=repr(hook)))

    def assert_fits(self, rows: Rows) -> None:  # noqa: B027  # most take any rows
        """Raise `TypeError` for rows that it cannot save, with what can."""

    @abstractmethod
    def save(self, storage: Rows, target: Target) -> dict[str, Any]:
        """Write rows.

        Returns:
            The state of the storage without its rows; under `"saved"` the name of the checkpointer, `"files"`
            (name to checksum) and whatever else `load` needs.
        """

    @abstractmethod
    def load(self, storage: RowStore, folder: Path, state: dict[str, Any]) -> None:
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


def checked(component: str, checkpointer: object, rows: Rows) -> StorageCheckpointerBase:
    """`checkpointer`, which is to be one that can save `rows`.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(checkpointer, StorageCheckpointerBase):
        expected, fix = "an instance of StorageCheckpointerBase", "Pass an object, such as ListStorageCheckpointer()"
        raise TypeError(message(component, "checkpointer", expected=expected, found=repr(checkpointer), fix=fix))
    checkpointer.assert_fits(rows)
    return checkpointer


def sync_files(folder: Path, names: Sequence[str]) -> None:
    """Force new files and their names to disk."""
    for name in names:
        sync(folder / name)
    for parent in {(folder / name).parent for name in names}:
        sync(parent)


def row_files(folder: Path) -> set[str]:
    """The files of rows that a folder holds."""
    return {path.relative_to(folder).as_posix() for path in (folder / ROWS).rglob("*") if path.is_file()}


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
