"""What users give as rows and priorities, as tensors on the device of the trees; values are looked at on a CPU only."""

import math

import torch
from torch import Tensor

from rl_buffers.samplers import Numbers, Reduction
from rl_specs import ShapeError, message

_LISTED = 10


def rows_on(index: Numbers, capacity: int, component: str, device: torch.device) -> Tensor:
    """Row numbers int64 `[n]` from an integer, a sequence, or a tensor `[n, ...]` that repeats each of them.

    Raises:
        IndexError: not integers, or, where the device is a CPU, rows that there cannot be.
    """
    rows = first_of_each(torch.as_tensor(index, device=device))
    if rows.dtype != torch.int64:
        if (rows.is_floating_point() or rows.dtype is torch.bool) and rows.numel():
            found = f"{rows.dtype} {list(rows.shape)}"
            raise IndexError(message(component, "row numbers", expected="integers [n]", found=found))
        rows = rows.to(torch.int64)
    if device.type == "cpu":
        bad = rows[(rows < 0) | (rows >= capacity)]
        if bad.numel():
            expected = f"0 to {capacity - 1}"
            raise IndexError(message(component, "row numbers", expected=expected, found=bad[:_LISTED].tolist()))
    return rows.contiguous()


def first_of_each(tensor: Tensor) -> Tensor:
    """`[n]` from `[n, ...]` that repeats each entry along further dimensions, or from one number."""
    if tensor.ndim == 1:
        return tensor
    return tensor.reshape(1) if tensor.ndim == 0 else tensor.flatten(1)[:, 0]


def priorities_on(priority: Numbers, count: int, reduction: Reduction, component: str, device: torch.device) -> Tensor:
    """Priorities float64 `[count]`.

    Raises:
        ShapeError: another number of priorities than of rows.
        ValueError: where the device is a CPU: negative, infinite or not a number; places and values are listed.
    """
    values = torch.as_tensor(priority, device=device).detach().to(torch.float64)
    if values.ndim == 0:
        values = values.expand(count)
    elif len(values) != count:
        found = f"{len(values)} priorities of shape {list(values.shape)}"
        raise ShapeError(message(component, "priorities", expected=f"one for each of {count} rows", found=found))
    elif values.ndim > 1:
        values = _reduced(values.flatten(1), reduction)
    if device.type == "cpu":
        _check_values(values, component)
    return values.contiguous()


def _reduced(values: Tensor, reduction: Reduction) -> Tensor:
    count = values.shape[1]
    if count == 1:
        return values[:, 0]
    if reduction == "max":
        return values.amax(1)
    if reduction == "min":
        return values.amin(1)
    if reduction == "mean":
        return values.mean(1)
    ordered = values.sort(1).values
    return (ordered[:, (count - 1) // 2] + ordered[:, count // 2]) / 2


def _check_values(values: Tensor, component: str) -> None:
    is_bad = ~((values >= 0) & (values < math.inf))
    if bool(is_bad.any()):
        places = is_bad.nonzero().flatten().tolist()
        listed = ", ".join(f"{values[place].item()} at {place}" for place in places[:_LISTED])
        more = f" and {len(places) - _LISTED} more" if len(places) > _LISTED else ""
        fix = "Nothing was changed. Give absolute values, and look for what made the error if they are not numbers"
        raise ValueError(message(component, "priorities", expected="finite numbers >= 0", found=listed + more, fix=fix))
