"""Tensor storages in the memory of a device."""

import copy
import os
import tempfile
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from rl_buffers._checkpointer import StorageCheckpointerBase
from rl_buffers._large_pages import empty_rows
from rl_buffers._layout import inferred
from rl_buffers._mapped_files import MappedFiles
from rl_buffers._mapped_storage import MappedStorage
from rl_buffers._tensor_storage import BaseTensorStorage
from rl_specs import DeviceError, message


def resolved(device: torch.device | str) -> torch.device:
    """`device` with its number, as tensors report it.

    Raises:
        DeviceError: there is no such device, or torch cannot use it.
    """
    try:
        return torch.empty(0, device=device).device
    except (AssertionError, RuntimeError) as error:
        problem = f"device {device} cannot be used: {str(error).splitlines()[0]}"
        fix = 'Give device="cpu", or see what torch.cuda.is_available() says'
        raise DeviceError(message("rl_buffers", problem, fix=fix)) from error


@final
class LazyTensorStorage(MappedStorage):
    """Tensors in memory, allocated when the first data arrive, with their keys, shapes and dtypes.

    With `shared_init=True` the memory is shared: hand the storage to other processes, forked or spawned, before or
    after the first data, and build a buffer around it in each. The first to store decides the layout and allocates,
    and the others find that. Their buffers take turns, so that every row read is whole. Each has a sampler of its own,
    which hears of rows that others wrote; priorities are not shared. Use the storage through buffers then, with a
    `RoundRobinWriter`. When a process died while it overwrote rows, the next one puts copies of the row before in their
    place and warns.

    Args:
        max_size: capacity in rows.
        device: where the rows are kept; `"auto"` for the device of the first data.
        ndim: how many first dimensions of data count rows: 2 for `[B, T, ...]`, time last.
        shared_init: keep the rows in memory that other processes can use, which is on the CPU.
        cleanup_memmap: free that memory on `close`, or when the storage or the process that made it ends; without, it
            stays in the files of the folder `scratch_dir`.
        checkpointer: how rows become files; None for `TensorStorageCheckpointer()`. One given does not travel with a
            shared storage that is handed to another process.
    Raises:
        ValueError: `shared_init` on another device than the CPU.
    """

    def __init__(
        self,
        max_size: int,
        *,
        device: torch.device | str = "cpu",
        ndim: int = 1,
        shared_init: bool = False,
        cleanup_memmap: bool = True,
        checkpointer: StorageCheckpointerBase | None = None,
    ) -> None:
        where = None if device == "auto" else resolved(device)
        super().__init__(max_size, where, ndim=ndim, checkpointer=checkpointer)
        if shared_init:
            if where != torch.device("cpu"):
                fix = 'Leave device out; batch.to("cuda") moves what is read'
                raise ValueError(
                    message("LazyTensorStorage", "device with shared_init=True", expected="cpu", found=device, fix=fix)
                )
            self._share(Path(tempfile.mkdtemp(prefix="rl-buffers-", dir=_memory_folder())), cleanup_memmap)

    def _share(self, folder: Path, is_removed: bool) -> None:
        files = MappedFiles(folder, is_kept=True, is_memory=True)
        self._open(files, is_kept=True, is_shared=True, is_removed=is_removed, is_whole=True)

    def __getstate__(self) -> dict[str, Any]:
        """Where shared memory is; or all that there is, if it is not shared."""
        if self.scratch_dir is None:
            return super().__getstate__()
        return {"folder": self.scratch_dir, "max_size": self._capacity, "ndim": self._ndim}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The storage with the same memory, if it is shared."""
        if "folder" not in state:
            super().__setstate__(state)
            return
        LazyTensorStorage.__init__(self, state["max_size"], ndim=state["ndim"])
        self._share(state["folder"], is_removed=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> "LazyTensorStorage":
        """A storage with copies of the rows; refused for shared memory, of which a copy would be the same."""
        if self.scratch_dir is not None:
            fix = "Save the buffer with dumps, and load it into another; or copy its rows with extend(buffer[:])"
            raise TypeError(message("LazyTensorStorage", "shared memory cannot be copied by copy.deepcopy", fix=fix))
        new = LazyTensorStorage.__new__(LazyTensorStorage)
        memo[id(self)] = new
        new.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return new

    def __repr__(self) -> str:
        return f"LazyTensorStorage(max_size={self._max_size}, length={self._length}, device={self.device})"


def _memory_folder() -> str | None:
    """The folder whose files are in memory; None where the system has none, for that of temporary files."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a new folder is made in it


@final
class TensorStorage(BaseTensorStorage):
    """A storage that starts with a copy of given rows.

    Args:
        data: batch whose first dimension counts rows, or `[*B, T, ...]` with `ndim` > 1; all of it is stored.
        max_size: capacity in rows; None for as many as `data` has.
        device: where the rows are kept; None for where `data` is.
        ndim: how many first dimensions of data count rows.
        checkpointer: how rows become files; None for `TensorStorageCheckpointer()`.
    """

    def __init__(
        self,
        data: Any,
        *,
        max_size: int | None = None,
        device: torch.device | str | None = None,
        ndim: int = 1,
        checkpointer: StorageCheckpointerBase | None = None,
    ) -> None:
        _, leaves = inferred(data, "TensorStorage", lead_dims=ndim)
        count = leaves[0].shape[:ndim].numel()
        capacity = count if max_size is None else max_size
        super().__init__(capacity, None if device is None else resolved(device), ndim=ndim, checkpointer=checkpointer)
        block = self.check(data, "TensorStorage")
        if count > self._max_size:
            expected = f"at least the {count} rows of data"
            raise ValueError(message("TensorStorage", "max_size", expected=expected, found=self._max_size))
        self.write(slice(0, count), block)

    def _allocate(self, number: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        return empty_rows(type(self).__name__, self._max_size, width, dtype, device)

    def __repr__(self) -> str:
        return f"TensorStorage(max_size={self._max_size}, length={self._length}, device={self.device})"
