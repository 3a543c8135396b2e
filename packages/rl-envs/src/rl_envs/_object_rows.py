"""Rows of entries that hold text and objects, by a mask."""

from typing import Any

from tensordict import NonTensorStack
from torch import Tensor


def chosen_objects(mask: Tensor, inside: Any, outside: Any) -> Any:
    """`inside` in the rows of a mask, `outside` elsewhere.

    Args:
        mask: bool `[*B]`.
        inside: `NonTensorData` or `NonTensorStack` of batch size `[*B]`.
        outside: the same.
    """
    if mask.ndim == 0:
        return inside if bool(mask) else outside
    rows = range(len(mask))
    return NonTensorStack(*[chosen_objects(mask[row], inside[row], outside[row]) for row in rows], stack_dim=0)
