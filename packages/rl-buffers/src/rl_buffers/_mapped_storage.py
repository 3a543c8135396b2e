"""Tensor storages whose tables may be files mapped into memory, found again by path, shared between processes."""

import json
import os
import shutil
import warnings
import weakref
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from rl_buffers._checkpointer import StorageCheckpointerBase
from rl_buffers._large_pages import empty_rows
from rl_buffers._layout import Layout
from rl_buffers._mapped_files import MappedFiles
from rl_buffers._pager import Pager
from rl_buffers._ring_file import RUNS, RingFile
from rl_buffers._storage import Block, SharedRing
from rl_buffers._tensor_storage import BaseTensorStorage
from rl_specs import SpecError, message

HEAD = "storage.json"
"""The file that says how the rows in a folder are made."""

_FORMAT = 1


class MappedStorage(BaseTensorStorage):
    """Tables in memory, or in files once `_open` was called, before any data come.

    Args:
        max_size: see `BaseTensorStorage`.
        device: see `BaseTensorStorage`; the CPU for tables in files.
        ndim: see `BaseTensorStorage`.
        batch_device: see `BaseTensorStorage`.
        follows_data: move what is read to the device of the first data.
        checkpointer: see `BaseTensorStorage`.
    """

    def __init__(
        self,
        max_size: int,
        device: torch.device | None,
        *,
        ndim: int,
        checkpointer: StorageCheckpointerBase | None,
        batch_device: torch.device | None = None,
        follows_data: bool = False,
    ) -> None:
        super().__init__(max_size, device, ndim=ndim, batch_device=batch_device, checkpointer=checkpointer)
        self._follows_data = follows_data
        self._files: MappedFiles | None = None
        self._ring_file: RingFile | None = None
        self._is_kept = False
        self._is_shared = False
        self._is_closed = False
        self._finalizer: weakref.finalize[..., MappedStorage] | None = None

    def _open(self, files: MappedFiles, *, is_kept: bool, is_shared: bool, is_removed: bool, is_whole: bool) -> None:
        """Keep the tables in files, those of a storage that the folder holds if it does.

        Args:
            files: of the tables.
            is_kept: whether they have names.
            is_shared: whether other processes use them.
            is_removed: remove them in the end.
            is_whole: with the folder.
        """
        folder = files.folder
        folder.mkdir(parents=True, exist_ok=True)
        self._files = files
        self._is_kept = is_kept
        self._is_shared = is_shared
        self._ring_file = RingFile(folder, is_shared=is_shared) if is_kept else None
        end = _End(files, self._ring_file, os.getpid(), is_removed=is_removed, is_whole=is_whole)
        self._finalizer = weakref.finalize(self, end)
        self._pager = _Files(files, self._ring_file)
        if self._ring_file is not None:
            self._numbers = self._ring_file.numbers
            self._ring_file.acquire()
            try:
                self._refreshed()
            finally:
                self._ring_file.release()

    @property
    def scratch_dir(self) -> Path | None:
        """The folder of the files; None for tables in memory and for files without a name."""
        return self._files.folder if self._files is not None and self._is_kept else None

    @property
    def ring(self) -> SharedRing | None:
        """See `Storage.ring`."""
        return self._ring_file

    def refresh(self) -> bool:
        """Take over the layout and mend what another process left."""
        if self._is_shared:
            self._refreshed()
        return self._is_shared

    def clear(self) -> None:
        """Forget all rows; files and layout stay."""
        super().clear()
        if self._ring_file is not None:
            self._ring_file.clears += 1
            self._ring_file.end_load()

    def close(self) -> None:
        """Give memory and files back; temporary files are removed. The storage cannot be used afterwards."""
        self._structure, self._tables, self._views, self._entries = None, [], [], {}
        self._numbers = [0]
        self._is_closed = True
        if self._finalizer is not None:
            self._finalizer()

    def _refreshed(self) -> None:
        """Open the storage in the folder if there is one that is not open yet, and mend its rows."""
        if self._structure is None:
            head = self._saved_head()
            if head is not None:
                layout = Layout.parse(head)
                assert layout is not None
                super()._adopt(layout, torch.device(head["data_device"]))
                self._follow(head["data_device"])
        assert self._ring_file is not None
        if self._ring_file.is_half_loaded:
            self._begin_anew("a process died while it loaded rows; none of them are left. Load again")
        torn = self._ring_file.unfinished()
        if torn is not None:
            self._mend(torn)

    def _adopt(self, layout: Layout, device: torch.device) -> None:
        if self._is_closed:
            raise RuntimeError(message(type(self).__name__, "it is closed", fix="Open its folder with existsok=True"))
        super()._adopt(layout, device)
        self._follow(str(device))
        if self._files is not None and self._is_kept:
            head = {**self.head(), "format": _FORMAT, "data_device": str(device)}
            partial = self._files.folder / f"{HEAD}.{os.getpid()}.partial"
            partial.write_text(json.dumps(head))
            partial.replace(self._files.folder / HEAD)

    def _follow(self, device: str) -> None:
        if self._follows_data:
            self._batch_device = None if device == "cpu" else torch.device(device)

    def _allocate(self, number: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        if self._files is None:
            return empty_rows(type(self).__name__, self._max_size, width, dtype, device)
        return self._files.table(number, self._max_size, width, dtype)

    def _saved_head(self) -> dict[str, Any] | None:
        assert self._files is not None
        path = self._files.folder / HEAD
        if not path.exists():
            return None
        try:
            head: dict[str, Any] = json.loads(path.read_text())
            version = head["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise SpecError(message(type(self).__name__, f"{path} cannot be read: {error!r}")) from error
        if version != _FORMAT:
            raise SpecError(message(type(self).__name__, f"format of {path}", expected=_FORMAT, found=version))
        differences = self.differences(head)
        if differences:
            fix = "Open it as it was made, or give another scratch_dir"
            problem = f"{path.parent} holds another storage: " + "; ".join(differences)
            raise SpecError(message(type(self).__name__, problem, fix=fix))
        return head

    def _mend(self, torn: slice) -> None:
        """Put copies of a whole row where a process died while it wrote."""
        if torn.stop - torn.start == len(self):
            self._begin_anew("a process died while it wrote all rows; none of them are left")
            return
        source = torn.start - 1 if torn.start > 0 else torn.stop
        whole = [view[source].reshape(1, -1).expand(torn.stop - torn.start, -1) for view in self._views]
        self.write(torn, Block(torn.stop - torn.start, whole))
        text = (
            f"a process died while it wrote rows {torn.start} to {torn.stop - 1}; they are copies of row {source} now"
        )
        warnings.warn(message(type(self).__name__, text), RuntimeWarning, stacklevel=2)

    def _begin_anew(self, reason: str) -> None:
        """Forget all rows, as none is whole."""
        assert self._ring_file is not None
        self.clear()
        self._ring_file.end_write(0)
        self._ring_file.cursor = 0
        warnings.warn(message(type(self).__name__, reason), RuntimeWarning, stacklevel=2)


@final
class _Files(Pager):
    """The files of the tables, and beside them which rows are being written."""

    def __init__(self, files: MappedFiles, ring: RingFile | None) -> None:
        self._files = files
        self._ring = ring

    def before_write(self, start: int, stop: int) -> None:
        self._files.before_write(start, stop)
        if self._ring is not None:
            self._ring.begin_write(start, stop)

    def after_write(self, count: int) -> None:
        if self._ring is not None:
            self._ring.end_write(count)
        self._files.after_write(count)

    def begin_load(self) -> None:
        if self._ring is not None:
            self._ring.begin_load()

    def end_load(self) -> None:
        if self._ring is not None:
            self._ring.end_load()

    def after_scan(self, size: int) -> None:
        self._files.after_scan(size)

    def after_read(self, count: int) -> None:
        self._files.after_read(count)


@final
class _End:
    """Gives the files of a storage back, and removes them where they are to be, in the process that made them."""

    def __init__(
        self, files: MappedFiles, ring: RingFile | None, process: int, *, is_removed: bool, is_whole: bool
    ) -> None:
        self._files = files
        self._ring = ring
        self._process = process
        self._is_removed = is_removed
        self._is_whole = is_whole

    def __call__(self) -> None:
        self._files.close()
        if self._ring is not None:
            self._ring.close()
        if not self._is_removed or os.getpid() != self._process:
            return
        folder = self._files.folder
        if self._is_whole:
            shutil.rmtree(folder, ignore_errors=True)
            return
        for path in (folder / HEAD, folder / "ring.bin", folder / RUNS, folder / "lock", *folder.glob("table_*.bin")):
            path.unlink(missing_ok=True)
