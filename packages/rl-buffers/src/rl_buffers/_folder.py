"""Checkpoints in folders: files of rows, and one file with everything else, which makes them count."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rl_buffers._checkpointer import ROWS, Hook, StorageCheckpointerBase, Target, remove_others, row_files
from rl_buffers._hooks import OTHER, empty_store, hooked_rows, load_hooked
from rl_buffers._manifest import FILE, disk_errors, read_manifest, write_manifest
from rl_buffers._rows import Rows, RowStore, TensorStore
from rl_buffers._storage import Storage
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


@dataclass(frozen=True, slots=True)
class Saving:
    """What is to be saved besides rows, and how.

    Args:
        component: who asks, for messages.
        folder: made if need be; files of an earlier save are removed at last.
        state: everything but the storage.
        checkpointer: writes the rows.
        hooks: change the rows before.
    """

    component: str
    folder: Path
    state: dict[str, Any]
    checkpointer: StorageCheckpointerBase
    hooks: Sequence[Hook]


def save_folder(saving: Saving, rows: Rows) -> None:
    """Save a state and rows in place of what a folder holds, all of it or nothing.

    Raises:
        OSError: no room; the earlier save is whole.
    """
    folder = saving.folder
    folder.mkdir(parents=True, exist_ok=True)
    earlier = _earlier(saving.component, folder)
    kept = set(earlier["storage"]["saved"]["files"]) if earlier else row_files(folder)
    generation = earlier["generation"] + 1 if earlier else 1
    try:
        with disk_errors(saving.component, folder):
            saved = _save_rows(saving, rows, _target(folder, generation, earlier))
            write_manifest(saving.component, folder, {**saving.state, "generation": generation, "storage": saved})
            kept = set(saved["saved"]["files"])
    finally:
        remove_others(folder, kept)


def save_members(component: str, folder: Path, state: dict[str, Any], members: Sequence[tuple[Saving, Rows]]) -> None:
    """Save several buffers in place of what a folder holds, all of them or nothing.

    Args:
        component: who saves, for messages.
        folder: made if need be; files of an earlier save are removed at last.
        state: what is to be saved besides the members.
        members: what is to be saved of each, in `member_folder(folder, number)`, and its rows.
    Raises:
        OSError: no room; the earlier save is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    earlier = _earlier_members(component, folder)
    kept = _member_files(earlier["buffers"]) if earlier else row_files(folder)
    generation = earlier["generation"] + 1 if earlier else 1
    before = earlier["buffers"] if earlier else []
    buffers: list[dict[str, Any]] = []
    try:
        with disk_errors(component, folder):
            for (saving, rows), previous in zip_longest(members, before[: len(members)]):
                saving.folder.mkdir(parents=True, exist_ok=True)
                saved = _save_rows(saving, rows, _target(saving.folder, generation, previous))
                buffers.append({**saving.state, "storage": saved})
            write_manifest(component, folder, {**state, "generation": generation, "buffers": buffers})
            kept = _member_files(buffers)
    finally:
        remove_others(folder, kept)


def member_folder(folder: Path, number: int) -> Path:
    """Where the files of a member are, in the folder of a checkpoint of several."""
    return folder / ROWS / f"{number}"


def _member_files(buffers: list[dict[str, Any]]) -> set[str]:
    """The files of all members, from the folder of the checkpoint."""
    names = [each["storage"]["saved"]["files"] for each in buffers]
    return {f"{ROWS}/{number}/{name}" for number, own in enumerate(names) for name in own}


def _target(folder: Path, generation: int, earlier: dict[str, Any] | None) -> Target:
    """Where the rows of a buffer are saved after an earlier save of it."""
    storage = earlier["storage"] if earlier else None
    return Target(folder, generation, {**storage, **storage.get(OTHER, {})} if storage else None)


def _save_rows(saving: Saving, rows: Rows, target: Target) -> dict[str, Any]:
    """The state of the storage, whose rows are in files now."""
    if not (saving.hooks and len(rows)):
        return saving.checkpointer.save(rows, target)
    made = saving.checkpointer.save(hooked_rows(rows, saving.hooks, saving.folder), target)
    other = {key: value for key, value in made.items() if key != "saved"}
    return {**rows.head(), "saved": made["saved"], OTHER: other}


def _earlier(component: str, folder: Path) -> dict[str, Any] | None:
    """What the folder holds, if it is a save with files of rows."""
    state = _earlier_state(component, folder)
    return state if "saved" in state.get("storage", {}) and "generation" in state else None


def _earlier_members(component: str, folder: Path) -> dict[str, Any] | None:
    """What the folder holds, if it is a save of several buffers."""
    state = _earlier_state(component, folder)
    return state if "buffers" in state and "generation" in state else None


def _earlier_state(component: str, folder: Path) -> dict[str, Any]:
    """What the folder holds; nothing where there is no file, or one that cannot be read."""
    if not (folder / FILE).is_file():
        return {}
    try:
        return read_manifest(component, folder)
    except SpecError:
        return {}


def assert_rows(
    component: str, state: dict[str, Any], folder: Path, readers: Sequence[StorageCheckpointerBase]
) -> None:
    """Find the rows that were saved in a folder whole; arguments as for `load_rows`.

    Raises:
        SpecError: files are missing or damaged, or hooks are missing.
    """
    if "saved" in state:
        _reader(component, state["saved"]["checkpointer"], readers).assert_whole(component, folder, state)
    if OTHER in state and not load_hooks(readers):
        fix = "Nothing was loaded. Register the load hooks that undo it, with buffer.register_load_hook(hook)"
        raise SpecError(message(component, "save hooks changed the rows when they were saved", fix=fix))


def load_rows(
    component: str,
    storage: Storage,
    state: dict[str, Any],
    folder: Path,
    readers: Sequence[StorageCheckpointerBase],
) -> None:
    """Load the rows that were saved in a folder, and were found whole.

    Args:
        component: who asks, for messages.
        storage: in place of its rows.
        state: what the save says of the storage; found to fit where no hooks change it.
        folder: of the checkpoint.
        readers: whose load hooks are called, in turn, and which read rows of their own formats.
    Raises:
        SpecError: what hooks make does not fit; nothing was changed.
    """
    hooks = load_hooks(readers)
    is_hooked = bool(hooks) and state["length"] > 0
    saved = {**state, **state.get(OTHER, {})}
    store = empty_store(saved) if is_hooked else storage
    read_rows(component, store, saved, folder, readers)
    if is_hooked:
        load_hooked(component, storage, state, store, hooks, folder)


def read_rows(
    component: str,
    store: RowStore,
    state: dict[str, Any],
    folder: Path,
    readers: Sequence[StorageCheckpointerBase],
) -> None:
    """Put rows that were saved in a folder into a store, as they are in the files; arguments as for `load_rows`."""
    if "saved" in state:
        _reader(component, state["saved"]["checkpointer"], readers).load(store, folder, state)
        if isinstance(store, TensorStore):
            store.end_load()
    else:
        store.load_state_dict(state)


def load_hooks(readers: Sequence[StorageCheckpointerBase]) -> list[Hook]:
    """The load hooks of several checkpointers."""
    return [hook for reader in readers for hook in reader.load_hooks]


def _reader(component: str, name: str, readers: Sequence[StorageCheckpointerBase]) -> StorageCheckpointerBase:
    """What reads rows that were saved by the checkpointer `name`."""
    for reader in readers:
        if reader.name == name:
            return reader
    if name not in _KINDS:
        problem = f"the rows were saved by an unknown checkpointer {name!r}"
        fix = "Nothing was loaded. Give it to loads(path, checkpointer=...), or to the storage"
        raise SpecError(message(component, problem, expected=sorted(_KINDS), fix=fix))
    return _KINDS[name]()
