"""Batches in page-locked memory, from which copies to a GPU overlap with its work."""

from typing import Any

import torch
from tensordict import is_tensor_collection
from torch import Tensor

from rl_specs import message


def assert_can_pin(component: str) -> None:
    """Raises:
    RuntimeError: memory is locked for a GPU only, and torch sees none.
    """
    if not torch.cuda.is_available():
        raise RuntimeError(
            message(
                component,
                "pin_memory=True needs a CUDA device, and torch finds none",
                fix="Leave pin_memory out; without a GPU there is nothing to copy to",
            )
        )


def pinned(batch: Any) -> Any:
    """`batch` with its tensors copied to page-locked memory, where they are on the CPU; other objects as they are."""
    if isinstance(batch, Tensor):
        return batch.pin_memory() if batch.device.type == "cpu" else batch
    if is_tensor_collection(batch):
        return batch.apply(pinned)
    if isinstance(batch, dict):
        return {key: pinned(value) for key, value in batch.items()}
    if type(batch) in (list, tuple):
        return type(batch)(pinned(value) for value in batch)
    return batch
