"""Tables in files mapped into memory: room reserved before rows are written, memory given back as rows are touched.

The files have holes where no row was ever written. A write into a hole for which the disk has no room would end the
process (SIGBUS), so blocks are reserved first, some ahead of the rows. Pages that were touched count as memory of the
process until the system needs them; once more than a budget may have been touched they are unmapped, which loses
nothing: they stay in the system's cache and go to the file from there.
"""

import errno
import mmap
import os
import shutil
import sys
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from rl_buffers._pager import Pager
from rl_specs import message

_BUDGET = 1 << 29
"""Bytes that may be mapped before they are unmapped."""

_AHEAD = 1 << 26
"""Bytes reserved beyond the rows to be written."""

_AROUND = 1 << 16
"""Bytes that the system maps around a page touched at random."""


@final
class MappedFiles(Pager):
    """The files of one storage.

    Args:
        folder: where the files are.
        is_kept: False to remove each file's name as soon as it is mapped, so that its room is free again when the
            process ends, in whichever way.
        is_memory: the files are in memory, from which there is nothing to give back.
    """

    def __init__(self, folder: Path, *, is_kept: bool, is_memory: bool = False) -> None:
        self.folder = folder
        self._is_kept = is_kept
        self._is_memory = is_memory
        self._descriptors: list[int] = []
        self._maps: list[mmap.mmap] = []
        self._row_bytes: list[int] = []
        self._max_rows = 0
        self._reserved = 0
        self._touched = 0
        self._read_cost = 0

    def table(self, number: int, rows: int, width: int, dtype: torch.dtype) -> Tensor:
        """The tensor `[rows, width]` in the file of a table; a file that is not there is made, with zeros.

        Raises:
            OSError: the file system cannot hold a file of that size.
        """
        row_bytes = width * dtype.itemsize
        if row_bytes == 0:
            return torch.empty(rows, 0, dtype=dtype)
        path = self.folder / f"table_{number}.bin"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, rows * row_bytes)
            mapped = mmap.mmap(descriptor, rows * row_bytes)
        except OSError as error:
            os.close(descriptor)
            self.close()
            raise self._no_room(error, rows * row_bytes) from error
        if not self._is_kept:
            path.unlink()
        if rows * row_bytes > _BUDGET and not self._is_memory:
            _advise(mapped, is_random=True)
        self._descriptors.append(descriptor)
        self._maps.append(mapped)
        self._row_bytes.append(row_bytes)
        self._max_rows = rows
        total = rows * sum(self._row_bytes)
        is_small = total <= _BUDGET or self._is_memory
        self._read_cost = 0 if is_small else sum(self._row_bytes) + _AROUND * len(self._maps)
        return torch.frombuffer(mapped, dtype=dtype).view(rows, width)

    def before_write(self, start: int, stop: int) -> None:
        """See `Pager.before_write`."""
        if start < stop > self._reserved:
            self._reserve(start, stop)

    def after_write(self, count: int) -> None:
        """See `Pager.after_write`; `count` rows one after another."""
        if self._read_cost:
            self._touch(count * sum(self._row_bytes))

    def begin_load(self) -> None:
        """See `Pager.begin_load`."""

    def end_load(self) -> None:
        """See `Pager.end_load`."""

    def after_scan(self, size: int) -> None:
        """See `Pager.after_scan`."""
        if self._read_cost:
            self._touch(size)

    def after_read(self, count: int) -> None:
        """See `Pager.after_read`."""
        if self._read_cost:
            self._touch(count * self._read_cost)

    def close(self) -> None:
        """Give back descriptors and, once no tensor uses them, the maps."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors, self._maps, self._row_bytes = [], [], []
        self._read_cost = self._reserved = 0

    def _touch(self, count: int) -> None:
        self._touched += count
        if self._touched > _BUDGET:
            self._touched = 0
            for mapped in self._maps:
                _advise(mapped, is_random=False)

    def _reserve(self, start: int, stop: int) -> None:
        """Take blocks for the rows to be written, and for some after them where there is room.

        Rows beyond the end of what is reserved leave a hole before them.
        """
        start = max(start, self._reserved)
        is_next = start == self._reserved
        ahead = min(stop + _AHEAD // max(sum(self._row_bytes), 1), self._max_rows) if is_next else stop
        for target in (ahead, stop):
            try:
                for descriptor, row_bytes in zip(self._descriptors, self._row_bytes, strict=True):
                    _take_blocks(descriptor, start * row_bytes, (target - start) * row_bytes)
            except OSError as error:
                if target == stop:
                    raise self._no_room(error, (stop - start) * sum(self._row_bytes)) from error
            else:
                self._reserved = target if is_next else self._reserved
                return

    def _no_room(self, error: OSError, size: int) -> OSError:
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            return error
        problem = f"no room for {size:,} bytes in {self.folder} ({error.strerror}); nothing was written"
        if self._is_memory:
            fix = "Use LazyMemmapStorage(..., shared_init=True), which is on disk, or a smaller max_size"
            return OSError(error.errno, message("LazyTensorStorage", problem, fix=fix))
        fix = "Make room, give another scratch_dir, or a smaller max_size"
        return OSError(error.errno, message("LazyMemmapStorage", problem, fix=fix))


def _take_blocks(descriptor: int, offset: int, size: int) -> None:
    """Have the file system set blocks aside; where it has no such call, see that there are as many."""
    if sys.platform == "linux":
        os.posix_fallocate(descriptor, offset, size)
    elif shutil.disk_usage(descriptor).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _advise(mapped: mmap.mmap, *, is_random: bool) -> None:
    """Tell the system that pages are read at random, or that those touched are not needed now."""
    if sys.platform != "win32":
        mapped.madvise(mmap.MADV_RANDOM if is_random else mmap.MADV_DONTNEED)
