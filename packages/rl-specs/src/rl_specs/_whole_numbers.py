"""Numbers as integers, without the wrap-around of a plain cast."""

from typing import Final

import torch
from torch import Tensor

_END: Final = 2.0**63


def to_whole(value: Tensor) -> Tensor:
    """`value` as int64, rounded to the nearest; what lies beyond int64 becomes its end, NaN its lowest number."""
    if not value.is_floating_point():
        return value.to(torch.int64)
    wide = value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    whole = wide.round().nan_to_num(nan=-_END, posinf=_END, neginf=-_END)
    is_beyond = whole >= _END
    return whole.masked_fill(is_beyond, 0).clamp_min(-_END).to(torch.int64).masked_fill(is_beyond, 2**63 - 1)
