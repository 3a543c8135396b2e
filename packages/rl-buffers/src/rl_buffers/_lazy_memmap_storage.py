"""Tables in files: larger than memory, found again by path, shared between processes."""

import json
import os
import shutil
import tempfile
import warnings
import weakref
from pathlib import Path
from typing import Any, Never, final

import torch
from torch import Tensor

from rl_buffers._layout import Layout
from rl_buffers._lazy_tensor_storage import resolved
from rl_buffers._mapped_files import MappedFiles
from rl_buffers._pager import Pager
from rl_buffers._ring_file import RingFile
from rl_buffers._storage import Block, SharedRing
from rl_buffers._tensor_storage import BaseTensorStorage
from rl_specs import SpecError, message

_FORMAT = 1
_HEAD = "storage.json"


@final
class LazyMemmapStorage(BaseTensorStorage):
    """Rows in files mapped into memory, allocated when the first data arrive.

    A storage may be larger than memory: files take room on disk as rows are written, and what was touched is given
    back. A disk without room for the next rows is an `OSError` before any of them is written.

    In a folder of your own (`scratch_dir`) the storage is found again: `existsok=True` opens it with its rows, and a
    buffer goes on where the last one stopped. Of several buffers on the folder one at a time may be used then.
    `shared_init=True` opens it too, for several processes at once: the first
    to store decides the layout, and buffers of these processes take turns, so that every row read is whole. Each has a
    sampler of its own, which hears of rows that others wrote; priorities are not shared. Use the storage through
    buffers then, with a `RoundRobinWriter`. When a process died while it overwrote rows, the next one puts copies of
    the row before in their place and warns. A storage in named files can be pickled, and opens the same files.

    Args:
        max_size: capacity in rows.
        scratch_dir: folder for the files; None for a temporary one.
        device: where batches are moved; `"auto"` or None for the device of the first data.
        ndim: how many first dimensions of data count rows: 2 for `[B, T, ...]`, time last.
        existsok: open the storage that the folder holds, if it does.
        shared_init: open it for several processes.
        auto_cleanup: remove the files on `close`, or when the storage or the process ends; None for temporary ones.
    Raises:
        FileExistsError: the folder holds a storage, and neither `existsok` nor `shared_init` is given.
        SpecError: it holds one of another capacity or `ndim`.
    """

    def __init__(
        self,
        max_size: int,
        *,
        scratch_dir: str | Path | None = None,
        device: torch.device | str | None = "cpu",
        ndim: int = 1,
        existsok: bool = False,
        shared_init: bool = False,
        auto_cleanup: bool | None = None,
    ) -> None:
        is_temporary = scratch_dir is None
        is_kept = not is_temporary or shared_init
        follows_data = device is None or device == "auto"
        batch_device = None if follows_data else resolved(device or "cpu")
        super().__init__(max_size, torch.device("cpu"), ndim=ndim, batch_device=batch_device)
        folder = Path(tempfile.mkdtemp(prefix="rl-buffers-")) if scratch_dir is None else Path(scratch_dir).absolute()
        if batch_device == torch.device("cpu"):
            self._batch_device = None
        self._follows_data = follows_data
        self._files = MappedFiles(folder, is_kept=is_kept)
        self._is_kept = is_kept
        self._is_shared = shared_init
        self._is_closed = False
        folder.mkdir(parents=True, exist_ok=True)
        if not is_temporary and (folder / _HEAD).exists() and not (existsok or shared_init):
            fix = "Give existsok=True to open it, or another scratch_dir"
            raise FileExistsError(message("LazyMemmapStorage", f"{folder} holds a storage already", fix=fix))
        self._ring_file = RingFile(folder, is_shared=shared_init) if is_kept else None
        is_removed = is_temporary if auto_cleanup is None else auto_cleanup
        end = _End(self._files, self._ring_file, os.getpid(), is_removed=is_removed, is_whole=is_temporary)
        self._finalizer = weakref.finalize(self, end)
        self._pager = _Files(self._files, self._ring_file)
        if self._ring_file is not None:
            self._numbers = self._ring_file.numbers
            self._ring_file.acquire()
            try:
                self._refreshed()
            finally:
                self._ring_file.release()

    @property
    def scratch_dir(self) -> Path | None:
        """The folder of the files; None for files without a name."""
        return self._files.folder if self._is_kept else None

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

    def close(self) -> None:
        """Give the files back: closed, and removed if they are temporary. The storage cannot be used afterwards."""
        self._structure, self._tables, self._views, self._entries = None, [], [], {}
        self._numbers = [0]
        self._is_closed = True
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
        torn = self._ring_file.unfinished()
        if torn is not None:
            self._mend(torn)

    def _adopt(self, layout: Layout, device: torch.device) -> None:
        if self._is_closed:
            raise RuntimeError(message("LazyMemmapStorage", "it is closed", fix="Open its folder with existsok=True"))
        super()._adopt(layout, device)
        self._follow(str(device))
        if self._is_kept:
            head = {**self.head(), "format": _FORMAT, "data_device": str(device)}
            partial = self._files.folder / f"{_HEAD}.{os.getpid()}.partial"
            partial.write_text(json.dumps(head))
            partial.replace(self._files.folder / _HEAD)

    def _follow(self, device: str) -> None:
        if self._follows_data:
            self._batch_device = None if device == "cpu" else torch.device(device)

    def _allocate(self, number: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        return self._files.table(number, self._max_size, width, dtype)

    def _saved_head(self) -> dict[str, Any] | None:
        path = self._files.folder / _HEAD
        if not path.exists():
            return None
        try:
            head: dict[str, Any] = json.loads(path.read_text())
            version = head["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise SpecError(message("LazyMemmapStorage", f"{path} cannot be read: {error!r}")) from error
        if version != _FORMAT:
            raise SpecError(message("LazyMemmapStorage", f"format of {path}", expected=_FORMAT, found=version))
        differences = self.differences(head)
        if differences:
            fix = "Open it as it was made, or give another scratch_dir"
            problem = f"{path.parent} holds another storage: " + "; ".join(differences)
            raise SpecError(message("LazyMemmapStorage", problem, fix=fix))
        return head

    def _mend(self, torn: slice) -> None:
        """Put copies of a whole row where a process died while it wrote."""
        if torn.stop - torn.start == len(self):
            self.clear()
            return
        source = torn.start - 1 if torn.start > 0 else torn.stop
        whole = [view[source].reshape(1, -1).expand(torn.stop - torn.start, -1) for view in self._views]
        self.write(torn, Block(torn.stop - torn.start, whole))
        text = (
            f"a process died while it wrote rows {torn.start} to {torn.stop - 1}; they are copies of row {source} now"
        )
        warnings.warn(message("LazyMemmapStorage", text), RuntimeWarning, stacklevel=2)

    def __reduce__(self) -> tuple[Any, ...]:
        """The storage opened again by path."""
        if not self._is_kept:
            fix = "Give a scratch_dir, or shared_init=True"
            raise TypeError(message("LazyMemmapStorage", "files without a name cannot be handed on", fix=fix))
        device = "auto" if self._follows_data else str(self._batch_device or "cpu")
        return _opened, (self._capacity, self._files.folder, device, self._ndim, self._is_shared)

    def __deepcopy__(self, memo: dict[int, Any]) -> Never:
        """Refused: a copy would be the same files."""
        fix = "Save the buffer with dumps, and load it into another; or copy its rows with extend(buffer[:])"
        raise TypeError(message("LazyMemmapStorage", "files cannot be copied by copy.deepcopy", fix=fix))

    def __repr__(self) -> str:
        return f"LazyMemmapStorage(max_size={self._max_size}, length={self._length}, scratch_dir={self.scratch_dir})"


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

    def after_read(self, count: int) -> None:
        self._files.after_read(count)


def _opened(max_size: int, folder: Path, device: str, ndim: int, is_shared: bool) -> LazyMemmapStorage:
    return LazyMemmapStorage(
        max_size, scratch_dir=folder, device=device, ndim=ndim, existsok=True, shared_init=is_shared
    )


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
        for path in (folder / _HEAD, folder / "ring.bin", folder / "lock", *folder.glob("table_*.bin")):
            path.unlink(missing_ok=True)
