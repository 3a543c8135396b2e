"""Zeros that take memory only as they are written to."""

import mmap
import sys
from contextlib import suppress
from typing import Final

import torch
from torch import Size, Tensor

_LEAST_BYTES: Final = 2**20
"""Size from which the system hands out pages that are zero already; below, it costs time and saves nothing."""


def light_zeros(size: Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`torch.zeros`, whose memory the system provides page by page where it is large and on the CPU.

    The pages are asked for here and not through the allocator, which may have used memory at hand, and clears that.
    """
    length = size.numel() * dtype.itemsize
    if length < _LEAST_BYTES or device.type != "cpu" or torch.compiler.is_compiling():
        return torch.zeros(size, dtype=dtype, device=device)
    return torch.frombuffer(_pages(length), dtype=torch.uint8).view(dtype).reshape(size)


def _pages(length: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, length)
    pages = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if sys.platform == "linux":
        with suppress(OSError):  # a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)  # the first touch of small pages costs more than what is written to them
    return pages
