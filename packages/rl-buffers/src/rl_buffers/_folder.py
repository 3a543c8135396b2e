"""Checkpoints in folders: files of rows, and one file with everything else, which makes them count."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rl_buffers._checkpointer import StorageCheckpointerBase, Target, remove_others
from rl_buffers._manifest import FILE, disk_errors, read_manifest, write_manifest
from rl_buffers._storage import Storage
from rl_buffers._tensor_storage import BaseTensorStorage
from rl_buffers.checkpointers import (
    FlatStorageCheckpointer,
    H5StorageCheckpointer,
    ListStorageCheckpointer,
    NestedStorageCheckpointer,
    TensorStorageCheckpointer,
)
from rl_specs import SpecError, message

_KINDS: dict[str, Callable[[], StorageCheckpointerBase]] = {
    "flat": FlatStorageCheckpointer,
    "hdf5": H5StorageCheckpointer,
    "list": ListStorageCheckpointer,
    "nested": NestedStorageCheckpointer,
    "tensor": TensorStorageCheckpointer,
}


def save_folder(
    component: str,
    folder: Path,
    state: dict[str, Any],
    storage: Storage,
    checkpointer: StorageCheckpointerBase | None,
) -> None:
    """Save a state and the rows of a storage in place of what a folder holds, all of it or nothing.

    Args:
        component: who asks, for messages.
        folder: made if need be; files of an earlier save are removed at last.
        state: everything but the storage.
        storage: whose rows are saved.
        checkpointer: writes the rows; None for the usual one.
    Raises:
        OSError: no room; the earlier save is whole.
    """
    if checkpointer is None:
        is_tensor = isinstance(storage, BaseTensorStorage)
        checkpointer = TensorStorageCheckpointer() if is_tensor else ListStorageCheckpointer()
    folder.mkdir(parents=True, exist_ok=True)
    earlier = _earlier(component, folder)
    kept = set(earlier["storage"]["saved"]["files"]) if earlier else set()
    generation = earlier["generation"] + 1 if earlier else 1
    try:
        with disk_errors(component, folder):
            target = Target(folder, generation, earlier["storage"] if earlier else None)
            saved = checkpointer.save(storage, target)
            write_manifest(folder, {**state, "generation": generation, "storage": saved})
            kept = set(saved["saved"]["files"])
    finally:
        remove_others(folder, kept)


def _earlier(component: str, folder: Path) -> dict[str, Any] | None:
    """What the folder holds, if it is a save with files of rows; a file that cannot be read counts as none."""
    if not (folder / FILE).is_file():
        return None
    try:
        state = read_manifest(component, folder)
    except SpecError:
        return None
    return state if "saved" in state.get("storage", {}) and "generation" in state else None


def checkpointer_of(component: str, state: dict[str, Any]) -> StorageCheckpointerBase | None:
    """What reads the rows of a saved storage; None where the state holds them itself."""
    saved = state.get("saved")
    if saved is None:
        return None
    name = saved["checkpointer"]
    if name not in _KINDS:
        problem = f"the rows were saved by an unknown checkpointer {name!r}"
        raise SpecError(message(component, problem, expected=sorted(_KINDS), fix="Nothing was loaded"))
    return _KINDS[name]()
