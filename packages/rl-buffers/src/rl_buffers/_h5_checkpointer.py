"""Rows without what they hold twice, in one HDF5 file."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path as FilePath
from types import ModuleType
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from rl_buffers._array_checkpointers import quoted
from rl_buffers._array_files import from_stored, stored_form, to_stored
from rl_buffers._checkpointer import ROWS, StorageCheckpointerBase, Target, sync_files
from rl_buffers._compact import Array, compact, expand
from rl_buffers._layout import Layout
from rl_buffers._manifest import file_digest
from rl_buffers._rows import Rows, RowStore
from rl_buffers._structure import Path
from rl_buffers._tensor_checkpointer import tensor_rows, tensor_store
from rl_specs import message


@final
class H5StorageCheckpointer(StorageCheckpointerBase):
    """For tensor storages: compact as `FlatStorageCheckpointer`, in one HDF5 file whose groups follow the nesting.

    Args:
        checkpoint_file: end of the name of the file, in the folder `rows` of the checkpoint.
        h5_kwargs: settings of `h5py.Group.create_dataset`, such as `{"compression": "gzip"}`; those about chunks and
            compression do not apply to entries kept once.
    Raises:
        ImportError: h5py is not installed.
    """

    name: ClassVar[str] = "hdf5"

    def __init__(self, *, checkpoint_file: str = "checkpoint.h5", h5_kwargs: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        _h5py()
        self._file = checkpoint_file
        self._settings = dict(h5_kwargs or {})

    def assert_fits(self, rows: Rows) -> None:
        """Rows kept in tensors."""
        tensor_rows(rows, "H5StorageCheckpointer")

    def save(self, storage: Rows, target: Target) -> dict[str, Any]:
        """See `StorageCheckpointerBase.save`."""
        storage = tensor_rows(storage, "H5StorageCheckpointer")
        arrays = compact(storage)
        target.assert_room(sum(array.dtype.itemsize * torch.Size(array.shape).numel() for array in arrays))
        (target.folder / ROWS).mkdir(exist_ok=True)
        name = target.name(self._file)
        with _system_errors(), _h5py().File(target.folder / name, "w") as file:
            for array in arrays:
                self._write(file, array)
        sync_files(target.folder, [name])
        saved = {
            "checkpointer": self.name,
            "files": {name: file_digest(target.folder / name)},
            "entries": [[list(array.path), array.role] for array in arrays],
        }
        return {**storage.head(), "saved": saved}

    def _write(self, file: Any, array: Array) -> None:
        form, shape = stored_form(array.dtype, array.shape)
        settings = {} if array.role == "same" or 0 in shape else self._settings
        data = file.create_dataset(_name(array.path, array.role), shape=shape, dtype=form, **settings)
        start = 0
        for part in array.parts():
            if part.numel():
                data[start : start + len(part)] = to_stored(part)
            start += len(part)

    def load(self, storage: RowStore, folder: FilePath, state: dict[str, Any]) -> None:
        """See `StorageCheckpointerBase.load`."""
        storage = tensor_store(storage, "H5StorageCheckpointer")
        storage.begin_load(state)
        layout = Layout.parse(state)
        if layout is None:
            return
        dtypes = dict(zip(layout.paths(), layout.dtypes, strict=True))
        entries = {(tuple(path), role) for path, role in state["saved"]["entries"]}
        (name,) = state["saved"]["files"]
        with _h5py().File(folder / name, "r") as file:

            def read(path: Path, role: str, rows: slice) -> Tensor | None:
                if (path, role) not in entries:
                    return None
                data = file[_name(path, role)]
                return from_stored(data[rows], torch.uint8 if role == "where" else dtypes[path])

            expand(storage, state["length"], read)


@contextmanager
def _system_errors() -> Iterator[None]:
    """Errors of the system, which HDF5 has as numbers in its text, as `OSError` with that number."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = re.search(r"errno = (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _name(path: Path, role: str) -> str:
    return "/".join((*quoted(path), role))


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError as error:
        fix = "pip install 'rl-buffers[hdf5]', or use FlatStorageCheckpointer"
        raise ImportError(message("H5StorageCheckpointer", "it needs the package h5py", fix=fix)) from error
    module: ModuleType = h5py
    return module
