"""Tables in files: larger than memory, found again by path, shared between processes."""

import tempfile
from pathlib import Path
from typing import Any, Never, final

import torch

from rl_buffers._checkpointer import StorageCheckpointerBase
from rl_buffers._lazy_tensor_storage import resolved
from rl_buffers._mapped_files import MappedFiles
from rl_buffers._mapped_storage import HEAD, MappedStorage
from rl_specs import message


@final
class LazyMemmapStorage(MappedStorage):
    """Rows in files mapped into memory, allocated when the first data arrive.

    A storage may be larger than memory: files take room on disk as rows are written, and what was touched is given
    back. A disk without room for the next rows is an `OSError` before any of them is written.

    In a folder of your own (`scratch_dir`) the storage is found again: `existsok=True` opens it with its rows, and a
    buffer goes on where the last one stopped, with a new trajectory. Of several buffers on the folder one at a time may
    be used then. `shared_init=True` opens it too, for several processes at once: the first to store decides the layout,
    and buffers of these processes take turns, so that every row read is whole. Each has a sampler of its own, which
    hears of rows that others wrote; priorities are not shared. Use the storage through buffers then, with a
    `RoundRobinWriter`. When a process died while it overwrote rows, the next one puts copies of the row before in their
    place and warns. A storage in named files can be pickled, and opens the same files.

    Args:
        max_size: capacity in rows.
        scratch_dir: folder for the files; None for a temporary one.
        device: where batches are moved; `"auto"` or None for the device of the first data.
        ndim: how many first dimensions of data count rows: 2 for `[B, T, ...]`, time last.
        existsok: open the storage that the folder holds, if it does.
        shared_init: open it for several processes.
        auto_cleanup: remove the files on `close`, or when the storage or the process ends; None for temporary ones.
        checkpointer: how rows become files of a checkpoint; None for `TensorStorageCheckpointer()`. One given does not
            travel with a pickled storage.
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
        checkpointer: StorageCheckpointerBase | None = None,
    ) -> None:
        is_temporary = scratch_dir is None
        follows_data = device is None or device == "auto"
        batch_device = None if follows_data else resolved(device or "cpu")
        super().__init__(
            max_size,
            torch.device("cpu"),
            ndim=ndim,
            batch_device=None if batch_device == torch.device("cpu") else batch_device,
            follows_data=follows_data,
            checkpointer=checkpointer,
        )
        folder = Path(tempfile.mkdtemp(prefix="rl-buffers-")) if scratch_dir is None else Path(scratch_dir).absolute()
        if not is_temporary and (folder / HEAD).exists() and not (existsok or shared_init):
            fix = "Give existsok=True to open it, or another scratch_dir"
            raise FileExistsError(message("LazyMemmapStorage", f"{folder} holds a storage already", fix=fix))
        is_kept = not is_temporary or shared_init
        self._open(
            MappedFiles(folder, is_kept=is_kept),
            is_kept=is_kept,
            is_shared=shared_init,
            is_removed=is_temporary if auto_cleanup is None else auto_cleanup,
            is_whole=is_temporary,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """The storage opened again by path."""
        if not self._is_kept:
            fix = "Give a scratch_dir, or shared_init=True"
            raise TypeError(message("LazyMemmapStorage", "files without a name cannot be handed on", fix=fix))
        device = "auto" if self._follows_data else str(self._batch_device or "cpu")
        return _opened, (self._capacity, self.scratch_dir, device, self._ndim, self._is_shared)

    def __deepcopy__(self, memo: dict[int, Any]) -> Never:
        """Refused: a copy would be the same files."""
        fix = "Save the buffer with dumps, and load it into another; or copy its rows with extend(buffer[:])"
        raise TypeError(message("LazyMemmapStorage", "files cannot be copied by copy.deepcopy", fix=fix))

    def __repr__(self) -> str:
        return f"LazyMemmapStorage(max_size={self._max_size}, length={self._length}, scratch_dir={self.scratch_dir})"


def _opened(max_size: int, folder: Path, device: str, ndim: int, is_shared: bool) -> LazyMemmapStorage:
    return LazyMemmapStorage(
        max_size, scratch_dir=folder, device=device, ndim=ndim, existsok=True, shared_init=is_shared
    )
