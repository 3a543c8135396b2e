"""The rows of one moment, of which only those are copied that are overwritten while they are still needed."""

import os
import threading
from typing import Any, final

import torch
from torch import Size, Tensor

from rl_buffers._chunks import Chunks
from rl_buffers._pager import Pager
from rl_buffers._rows import Column, FrozenRows, TensorRows
from rl_buffers._storage import Where
from rl_buffers._structure import Path, Structure


@final
class Snapshot(TensorRows, FrozenRows):
    """The rows of a tensor storage as they were when this was made.

    The storage says before each write which rows it is about to overwrite, and these are copied first, once each.
    Whoever reads gets the copies in their place, so that it does not matter whether the write is done, half done or
    still to come. Rows that were read for the last time (`done`) are not copied any more. Copies, and what is read, are
    on the CPU.

    Args:
        head: that of the storage, which nobody changes.
        structure: nesting of the entries; None where no data had come.
        columns: every entry of the rows, as views of the storage's tables.
        chunks: frozen, too.
        lanes: see `TensorRows.lanes`.
        is_alone: whether the storage hears of every write.
        pager: of the files of the tables, if they are in files.
    """

    def __init__(
        self,
        head: dict[str, Any],
        structure: Structure | None,
        columns: dict[Path, Tensor],
        chunks: Chunks,
        *,
        lanes: int,
        is_alone: bool,
        pager: Pager | None,
    ) -> None:
        self._head = head
        self._structure = structure
        self._paths = list(columns)
        self._views = list(columns.values())
        self._chunks = chunks
        self._lanes = lanes
        self._is_alone = is_alone
        self._pager = pager
        self._length: int = head["length"]
        self._lock = threading.Lock()
        self._places: Tensor | None = None
        self._copies = [torch.empty(0, *view.shape[1:], dtype=view.dtype) for view in self._views]
        self._copied = 0
        self._done = 0
        self._is_over = False
        self._process = os.getpid()
        for view in self._views[:1]:
            if view.device.type != "cpu":
                view[:1].cpu()  # what was written by now is written: whoever reads does so in another stream

    def __len__(self) -> int:
        """Number of rows."""
        return self._length

    @property
    def copied(self) -> int:
        """See `FrozenRows.copied`."""
        return self._copied

    @property
    def chunks(self) -> Chunks:
        """See `TensorRows.chunks`."""
        return self._chunks

    @property
    def lanes(self) -> int:
        """See `TensorRows.lanes`."""
        return self._lanes

    @property
    def is_alone(self) -> bool:
        """See `TensorRows.is_alone`."""
        return self._is_alone

    def head(self) -> dict[str, Any]:
        """See `Rows.head`."""
        return self._head

    def columns(self) -> dict[Path, Column]:
        """See `TensorRows.columns`."""
        entries = enumerate(zip(self._paths, self._views, strict=True))
        return {path: _FrozenColumn(self, number, view.shape, view.dtype) for number, (path, view) in entries}

    def state_dict(self) -> dict[str, Any]:
        """See `Rows.state_dict`."""
        columns = [column[:].contiguous() for column in self.columns().values()]
        return {**self._head, "columns": columns}

    def values(self) -> Any:
        """See `Rows.values`."""
        assert self._structure is not None
        leaves = (column[:] for column in self.columns().values())
        return self._structure.build(leaves, (self._length,), torch.device("cpu"))

    def read(self, number: int, index: slice | Tensor) -> Tensor:
        """Copy of one entry of some rows, as they were, on the CPU."""
        view = self._views[number]
        with self._lock:
            rows = view[index if isinstance(index, slice) else index.to(view.device)].to("cpu", copy=True)
            if self._pager is not None:
                self._pager.after_scan(rows.numel() * rows.dtype.itemsize)
            if self._places is not None:
                places = self._places[index]
                is_copied = places >= 0
                if bool(is_copied.any()):
                    copies = self._copies[number]
                    rows[is_copied] = copies[places[is_copied].long()]
        return rows

    def before_write(self, where: Where) -> bool:
        """Rows `where` are about to be overwritten; whether this is to be told of further writes."""
        if self._process != os.getpid():
            return False  # a fork: its rows are its own, and nobody saves this there
        with self._lock:
            if self._is_over:
                return False
            rows = self._needed(where)
            if len(rows):
                self._copy(rows)
            return True

    def done(self, stop: int) -> None:
        """See `TensorRows.done`."""
        with self._lock:
            self._done = stop

    def release(self) -> None:
        """See `FrozenRows.release`."""
        with self._lock:
            self._is_over = True
            self._places, self._copies, self._views = None, [], []

    def _needed(self, where: Where) -> Tensor:
        """Which of the rows will be read and are not copied yet, int64 `[n]`."""
        if isinstance(where, int):
            where = slice(where, where + 1)
        if isinstance(where, slice):
            start, stop = max(where.start, self._done), min(where.stop, self._length)
            rows = torch.arange(start, max(start, stop))
        else:
            rows = torch.unique(where.cpu())
            rows = rows[(rows >= self._done) & (rows < self._length)]
        return rows if self._places is None else rows[self._places[rows] < 0]

    def _copy(self, rows: Tensor) -> None:
        start, stop = self._copied, self._copied + len(rows)
        if self._places is None:
            self._places = torch.full((self._length,), -1, dtype=torch.int32)
        for number, view in enumerate(self._views):
            copies = self._copies[number]
            if len(copies) < stop:
                size = min(max(stop, 2 * len(copies)), self._length)
                more = torch.empty(size, *view.shape[1:], dtype=view.dtype)
                more[:start] = copies[:start]
                self._copies[number] = copies = more
            copies[start:stop] = torch.index_select(view, 0, rows.to(view.device)).cpu()
        self._places[rows] = torch.arange(start, stop, dtype=torch.int32)
        self._copied = stop


@final
class _FrozenColumn:
    """One entry of the rows of a snapshot."""

    def __init__(self, snapshot: Snapshot, number: int, shape: Size, dtype: torch.dtype) -> None:
        self._snapshot = snapshot
        self._number = number
        self._shape = shape
        self._dtype = dtype

    @property
    def shape(self) -> Size:
        """See `Column.shape`."""
        return self._shape

    @property
    def dtype(self) -> torch.dtype:
        """See `Column.dtype`."""
        return self._dtype

    def __getitem__(self, index: slice | Tensor, /) -> Tensor:
        """See `Column.__getitem__`."""
        return self._snapshot.read(self._number, index)
