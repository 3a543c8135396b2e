"""Memory for rows that are read in no order.

Of a buffer of many megabytes, each row drawn lies on a page of its own, and where that page is takes about as long to
look up as the row to read. With pages of 2 MB, which Linux gives where it is asked to, most of these look-ups go. numpy
asks for them whenever an array is large; torch does not.
"""

import numpy as np
import torch
from torch import Tensor

from rl_specs import message

_LEAST = 1 << 22
"""Bytes from which numpy asks."""


def empty_rows(component: str, count: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`[count, width]`, not initialised, on the CPU in large pages if there is enough of it.

    Args:
        component: what the rows are for, for the message.
        count: how many rows.
        width: how many numbers in each.
        dtype: of the numbers.
        device: where they are.
    Raises:
        MemoryError: the CPU has not that much memory.
    """
    row = width * dtype.itemsize
    if device.type != "cpu" or count * row < _LEAST:
        return torch.empty(count, width, dtype=dtype, device=device)
    try:
        memory = np.empty((count, row), dtype=np.uint8)
    except MemoryError:
        wanted = f"{count * row / 2**30:,.1f} GiB for {count:,} rows of {row:,} bytes"
        fix = "Give a smaller max_size, or use LazyMemmapStorage, whose rows are in files"
        text = message(component, "not enough memory", expected=wanted, found="refused by the system", fix=fix)
        raise MemoryError(text) from None
    return torch.from_numpy(memory).view(dtype)
