"""The bytes of a tensor."""

import torch
from torch import Tensor


def raw_bytes(values: Tensor) -> Tensor:
    """Bytes of `values` in row-major order, uint8 `[n]` on the CPU; they may be those of `values` themselves."""
    flat = values.detach().cpu().contiguous().reshape(-1)
    if flat.numel() == 1:  # its stride may be any, and a view as bytes wants one
        flat = flat.clone(memory_format=torch.contiguous_format).as_strided((1,), (1,))
    return flat.view(torch.uint8)
