"""Rows in files of some thousands each, of which a second save writes those that changed."""

import uuid
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from rl_buffers._checkpointer import ROWS, StorageCheckpointerBase, Target, sync_files
from rl_buffers._layout import Layout
from rl_buffers._manifest import digest
from rl_buffers._raw import raw_bytes
from rl_buffers._rows import Column, Rows, RowStore, TensorRows, TensorStore
from rl_buffers._structure import Path
from rl_specs import message

_ALIGNMENT = 64


@final
class TensorStorageCheckpointer(StorageCheckpointerBase):
    """For tensor storages: the rows in chunks of 1 to 64 MiB, a file each; a second save writes those that changed.

    A chunk holds its entries one after another, each aligned to 64 bytes. Memory for one chunk is needed, whatever the
    size of the storage.
    """

    name: ClassVar[str] = "tensor"

    def assert_fits(self, rows: Rows) -> None:
        """Rows kept in tensors."""
        tensor_rows(rows, "TensorStorageCheckpointer")

    def save(self, storage: Rows, target: Target) -> dict[str, Any]:
        """See `StorageCheckpointerBase.save`."""
        storage = tensor_rows(storage, "TensorStorageCheckpointer")
        head = storage.head()
        spans = storage.chunks.spans(len(storage))
        known = self._known(target, head)
        columns = storage.columns()
        (target.folder / ROWS).mkdir(exist_ok=True)
        chunks: list[list[Any]] = []
        files: dict[str, bytes] = {}
        written = []
        for number, span in enumerate(spans):
            old = known["chunks"].get((span.start, span.stop))
            if old is None or not (storage.is_alone and storage.chunks.is_unchanged(number, known["id"])):
                data = _packed(columns, span)
                checksum = digest(data)
                if old is None or known["files"][old] != checksum:
                    old = target.name(f"{number:05d}.bin")
                    target.assert_room(len(data))
                    with (target.folder / old).open("wb") as file:
                        file.write(data)
                    written.append(old)
                    known["files"][old] = checksum
            storage.done(span.stop)
            chunks.append([span.start, span.stop, old])
            files[old] = known["files"][old]
        sync_files(target.folder, written)
        save_id = uuid.uuid4().hex
        storage.chunks.saved(save_id)
        return {**head, "saved": {"checkpointer": self.name, "id": save_id, "files": files, "chunks": chunks}}

    def _known(self, target: Target, head: dict[str, Any]) -> dict[str, Any]:
        """Files of the save before that chunks of the same layout may be in."""
        previous = target.previous
        names = ("layout", "row_shapes", "dtypes")
        if previous is None or previous.get("saved", {}).get("checkpointer") != self.name:
            return {"id": "", "files": {}, "chunks": {}}
        if any(previous.get(name) != head.get(name) for name in names):
            return {"id": "", "files": {}, "chunks": {}}
        saved = previous["saved"]
        there = {name for name in saved["files"] if (target.folder / name).is_file()}
        chunks = {(start, stop): name for start, stop, name in saved["chunks"] if name in there}
        return {"id": saved["id"], "files": dict(saved["files"]), "chunks": chunks}

    def load(self, storage: RowStore, folder: FilePath, state: dict[str, Any]) -> None:
        """See `StorageCheckpointerBase.load`."""
        storage = tensor_store(storage, "TensorStorageCheckpointer")
        storage.begin_load(state)
        layout = Layout.parse(state)
        if layout is None:
            return
        for start, stop, name in state["saved"]["chunks"]:
            data = bytearray((folder / name).read_bytes())
            for path, values in _unpacked(data, layout, stop - start):
                storage.put(path, start, values)
        storage.chunks.saved(state["saved"]["id"])


def tensor_rows(rows: Rows, component: str) -> TensorRows:
    """`rows`, which are to be kept in tensors."""
    if not isinstance(rows, TensorRows):
        raise _unfit(rows, component)
    return rows


def tensor_store(rows: RowStore, component: str) -> TensorStore:
    """`rows`, which are to be kept in tensors."""
    if not isinstance(rows, TensorStore):
        raise _unfit(rows, component)
    return rows


def _unfit(rows: Rows, component: str) -> TypeError:
    fix = "Use ListStorageCheckpointer, which takes any storage"
    expected = "one that keeps rows in tensors"
    return TypeError(message(component, "the storage", expected=expected, found=type(rows).__name__, fix=fix))


def _packed(columns: dict[Path, Column], span: slice) -> bytearray:
    data = bytearray()
    for column in columns.values():
        data += raw_bytes(column[span]).numpy().data
        data += bytes(-len(data) % _ALIGNMENT)
    return data


def _unpacked(data: bytearray, layout: Layout, count: int) -> Iterator[tuple[Path, Tensor]]:
    offset = 0
    for path, shape, dtype in zip(layout.paths(), layout.row_shapes, layout.dtypes, strict=True):
        items = count * shape.numel()
        if items == 0:
            yield path, torch.empty(count, *shape, dtype=dtype)
            continue
        values = torch.frombuffer(data, dtype=dtype, count=items, offset=offset)
        yield path, values.view(count, *shape)
        offset += items * dtype.itemsize
        offset += -offset % _ALIGNMENT
