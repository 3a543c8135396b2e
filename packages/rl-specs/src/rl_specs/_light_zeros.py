"""Zeros that take memory only as they are written to."""

from typing import Final

import numpy as np
import torch
from torch import Size, Tensor

_LEAST_BYTES: Final = 2**20
"""Size from which the system hands out pages that are zero already; below, it costs time and saves nothing."""
_ALIGNMENT: Final = 64
"""Where torch has its own tensors begin, in bytes."""


def light_zeros(size: Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`torch.zeros`, whose memory the system provides page by page where it is large and on the CPU."""
    length = size.numel() * dtype.itemsize
    if length < _LEAST_BYTES or device.type != "cpu" or torch.compiler.is_compiling():
        return torch.zeros(size, dtype=dtype, device=device)
    memory = np.zeros(length + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return torch.from_numpy(memory[start : start + length]).view(dtype).reshape(size)
