"""Rows without what they hold twice, an array of NumPy's format for each entry."""

from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any, ClassVar, final
from urllib.parse import quote

import torch
from torch import Tensor

from rl_buffers._array_files import from_stored, open_array, write_array
from rl_buffers._checkpointer import StorageCheckpointerBase, Target, sync_files
from rl_buffers._compact import Array, compact, expand
from rl_buffers._layout import Layout
from rl_buffers._manifest import file_digest
from rl_buffers._rows import Rows, RowStore, TensorRows
from rl_buffers._structure import Path
from rl_buffers._tensor_checkpointer import tensor_rows, tensor_store


@final
class FlatStorageCheckpointer(StorageCheckpointerBase):
    """For tensor storages: compact, one `.npy` file for each entry, side by side, such as `next.reward.rows.npy`.

    An entry `("next", key)` is kept where it differs from `key` in the row that follows in time, and an entry that is
    the same in all rows once. Unlike `TensorStorageCheckpointer`, every save writes everything.
    """

    name: ClassVar[str] = "flat"

    def assert_fits(self, rows: Rows) -> None:
        """Rows kept in tensors."""
        tensor_rows(rows, "FlatStorageCheckpointer")

    def save(self, storage: Rows, target: Target) -> dict[str, Any]:
        """See `StorageCheckpointerBase.save`."""
        return _save(tensor_rows(storage, "FlatStorageCheckpointer"), target, self.name, _flat)

    def load(self, storage: RowStore, folder: FilePath, state: dict[str, Any]) -> None:
        """See `StorageCheckpointerBase.load`."""
        _load(storage, folder, state)


@final
class NestedStorageCheckpointer(StorageCheckpointerBase):
    """As `FlatStorageCheckpointer`, with files in folders that follow the nesting, such as `next/reward/rows.npy`."""

    name: ClassVar[str] = "nested"

    def assert_fits(self, rows: Rows) -> None:
        """Rows kept in tensors."""
        tensor_rows(rows, "NestedStorageCheckpointer")

    def save(self, storage: Rows, target: Target) -> dict[str, Any]:
        """See `StorageCheckpointerBase.save`."""
        return _save(tensor_rows(storage, "NestedStorageCheckpointer"), target, self.name, _nested)

    def load(self, storage: RowStore, folder: FilePath, state: dict[str, Any]) -> None:
        """See `StorageCheckpointerBase.load`."""
        _load(storage, folder, state)


def _flat(array: Array) -> str:
    return "-" + ".".join((*quoted(array.path), array.role)) + ".npy"


def _nested(array: Array) -> str:
    return "/" + "/".join((*quoted(array.path), array.role)) + ".npy"


def quoted(path: Path) -> list[str]:
    """Keys of a path as parts of a file name; the key of a tensor that is a whole row is `data`."""
    return [quote(key, safe="").replace(".", "%2E") for key in path] or ["data"]


def _save(storage: TensorRows, target: Target, name: str, file_name: Callable[[Array], str]) -> dict[str, Any]:
    arrays = compact(storage)
    target.assert_room(sum(array.dtype.itemsize * torch.Size(array.shape).numel() for array in arrays))
    entries = []
    files = {}
    for array in arrays:
        file = f"rows/{target.generation:06d}{file_name(array)}"
        (target.folder / file).parent.mkdir(parents=True, exist_ok=True)
        write_array(target.folder / file, array.dtype, array.shape, array.parts())
        files[file] = file_digest(target.folder / file)
        entries.append([list(array.path), array.role, file])
    sync_files(target.folder, list(files))
    return {**storage.head(), "saved": {"checkpointer": name, "files": files, "entries": entries}}


def _load(storage: RowStore, folder: FilePath, state: dict[str, Any]) -> None:
    storage = tensor_store(storage, state["saved"]["checkpointer"])
    storage.begin_load(state)
    layout = Layout.parse(state)
    if layout is None:
        return
    dtypes = dict(zip(layout.paths(), layout.dtypes, strict=True))
    arrays = {(tuple(path), role): open_array(folder / file) for path, role, file in state["saved"]["entries"]}

    def read(path: Path, role: str, rows: slice) -> Tensor | None:
        array = arrays.get((path, role))
        if array is None:
            return None
        return from_stored(array[rows], torch.uint8 if role == "where" else dtypes[path])

    expand(storage, state["length"], read)
