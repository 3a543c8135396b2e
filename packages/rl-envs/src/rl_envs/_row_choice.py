"""Rows of one of two entries, by a mask; entries may be tensors or hold text and objects."""

from typing import Any

import torch
from torch import Tensor

from rl_envs._object_rows import chosen_objects
from rl_envs._ragged import Ragged
from rl_specs import NestedKey, ShapeError, key_str, message

_FIX = "Step such environments one by one, or bring their entries to one size with a transform"


def chosen_rows(key: NestedKey, mask: Tensor, inside: Any, outside: Any) -> Any:
    """`inside` in the rows of a mask, `outside` elsewhere.

    Args:
        key: name of the entry, for messages.
        mask: bool; its dimensions, but for those of size 1 behind, are the first ones of the entries.
        inside: entry `[*B, ...]`, a tensor, `Ragged`, `NonTensorData` or `NonTensorStack`.
        outside: the same.
    Returns:
        The entry; one of those given where they differ in size and the mask leaves no choice.
    Raises:
        ShapeError: the mask takes rows of both, and they differ in size.
    """
    if isinstance(inside, (Tensor, Ragged)):
        if isinstance(inside, Ragged) or inside.shape == outside.shape:
            if mask.device != inside.device:  # entries can be on a device of their own: `DeviceCastTransform(in_keys=)`
                mask = mask.to(inside.device)
            chosen: Any = torch.where(mask, inside, outside)  # type: ignore[arg-type]  # a Ragged knows torch.where
            return chosen
        if bool(mask.all()):
            return inside
        if bool(mask.any()):
            raise different_sizes("rows of a batch", key, inside, outside)
        return outside
    return chosen_objects(mask.reshape(inside.batch_size), inside, outside)


def different_sizes(component: str, key: NestedKey, *values: Any) -> ShapeError:
    """Error for rows of one entry that do not stack."""
    shapes = list(dict.fromkeys(tuple(value.shape) for value in values))
    return ShapeError(message(component, f"{key_str(key)} has rows of different sizes", found=shapes, fix=_FIX))
