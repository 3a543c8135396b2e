"""Zeros that take memory only as they are written to."""

import mmap
import sys
from contextlib import suppress
from typing import Final

import torch
from torch import Size, Tensor

from rl_specs.errors import message

_LEAST_BYTES: Final = 2**20
"""Size from which the system hands out pages that are zero already; below, it costs time and saves nothing."""


def light_zeros(size: Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`torch.zeros`, whose memory the system provides page by page where it is large and on the CPU.

    The pages are asked for here and not through the allocator, which may have used memory at hand, and clears that.

    Raises:
        MemoryError: the system does not have that much.
    """
    length = size.numel() * dtype.itemsize
    if length < _LEAST_BYTES or device.type != "cpu" or torch.compiler.is_compiling():
        return torch.zeros(size, dtype=dtype, device=device)
    try:
        pages = _pages(length)
    except (OSError, OverflowError) as error:
        problem, found = "there is no room for a value", f"{length / 2**30:.0f} GiB for the shape {tuple(size)}"
        fix = "Ask for fewer at a time, or keep them on disk"
        raise MemoryError(message("zero", problem, found=found, fix=fix)) from error
    return torch.frombuffer(pages, dtype=torch.uint8).view(dtype).reshape(size)


def _pages(length: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, length)
    pages = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if sys.platform == "linux":
        with suppress(OSError):  # a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)  # the first touch of small pages costs more than what is written to them
    return pages
