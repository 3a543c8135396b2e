"""Reductions of per-sample terms, and standardised advantages."""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Reduction: TypeAlias = Literal["none", "mean", "sum"]


def reduce_loss(value: Tensor, reduction: Reduction) -> Tensor:
    """Mean or sum of `value`, or "none": one number per sample, `[*B, 1]` as `[*B]`.

    Args:
        value: any shape.
        reduction: "none", "mean" or "sum".
    """
    if reduction == "mean":
        return value.mean()
    if reduction == "sum":
        return value.sum()
    return value.squeeze(-1) if value.ndim and value.shape[-1] == 1 else value


def standardize(value: Tensor, *, exclude_dims: Sequence[int] = (), epsilon: float = 1e-6) -> Tensor:
    """`(value - mean) / std`, with the deviation of a sample (n - 1) and no less than `epsilon`.

    A single element has no deviation; it becomes 0.

    Args:
        value: any shape.
        exclude_dims: dimensions along which each slice gets its own statistics, for example that of the agents.
        epsilon: floor of the deviation, in units of `value`.
    Returns:
        The shape of `value`.
    """
    if not exclude_dims:
        dims, count = None, value.numel()
    else:
        excluded = [dim % value.ndim for dim in exclude_dims]
        dims = [dim for dim in range(value.ndim) if dim not in excluded]
        count = math.prod([value.shape[dim] for dim in dims])
        if not dims:
            return torch.zeros_like(value)
    deviation, mean = torch.std_mean(value, dim=dims, keepdim=True, correction=min(1, count - 1))
    return (value - mean) / deviation.clamp_min(epsilon)
