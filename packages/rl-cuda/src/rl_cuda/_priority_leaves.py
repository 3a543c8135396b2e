"""From the priorities of a batch to the leaves of the trees, as an operator of torch."""

import math

import torch
from torch import Tensor

from rl_cuda._kernels import define, launch


def priority_leaves(
    index: Tensor,
    priority: Tensor,
    stamp: Tensor | None,
    *,
    stamps: Tensor,
    eps: float,
    alpha: float,
    entry: Tensor,
    faults: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Leaves `(priority + eps) ** alpha` of the rows whose priority is to change.

    Args:
        index: `[N]` int64 rows.
        priority: `[N]` float64.
        stamp: `[N]` int64, the writing of the row that was drawn; None: any.
        stamps: `[capacity]` int64, the last writing of every row, 0 where there is none.
        eps: added to every priority.
        alpha: exponent.
        entry: `[]` float64, raised in place to the largest leaf.
        faults: `[2]` int64, raised in place by the number of priorities that are negative, infinite or not numbers,
            and of rows that are out of range.
    Returns:
        `(row, leaf, floor)`, each `[N]`: the row, -1 where it must keep its priority; its leaf in a tree of sums; and
        in one of minima, where a leaf of zero does not count.
    """
    result: tuple[Tensor, Tensor, Tensor] = torch.ops.rl_cuda.priority_leaves(
        index, priority, stamp, stamps, eps, alpha, entry, faults
    )
    return result


def leaves_kernels(
    index: Tensor,
    priority: Tensor,
    stamp: Tensor | None,
    stamps: Tensor,
    eps: float,
    alpha: float,
    entry: Tensor,
    faults: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The operator with the CUDA kernels."""
    row, leaf, floor = torch.empty_like(index), torch.empty_like(priority), torch.empty_like(priority)
    inputs = (index, priority, stamp, stamps, stamps.numel(), eps, alpha, index.numel())
    launch("priority_leaves", priority, *inputs, entry, faults, row, leaf, floor)
    return row, leaf, floor


def _leaves_torch(
    index: Tensor,
    priority: Tensor,
    stamp: Tensor | None,
    stamps: Tensor,
    eps: float,
    alpha: float,
    entry: Tensor,
    faults: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    leaf = (priority + eps) ** alpha
    is_row = (index >= 0) & (index < stamps.numel())
    is_number = (priority >= 0) & (priority < math.inf) & (leaf < math.inf)
    written = torch.where(is_row, stamps[torch.where(is_row, index, 0)], 0)
    is_current = written > 0 if stamp is None else written == stamp
    counts = is_row & is_number & is_current
    faults.add_(torch.stack((~is_number, ~is_row)).sum(1))
    if index.numel():
        entry.copy_(torch.maximum(entry, torch.where(counts, leaf, 0.0).amax()))
    return torch.where(counts, index, -1), leaf, torch.where(leaf > 0, leaf, math.inf)


def _fake_leaves(
    index: Tensor,
    priority: Tensor,
    stamp: Tensor | None,
    stamps: Tensor,
    eps: float,
    alpha: float,
    entry: Tensor,
    faults: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(index), torch.empty_like(priority), torch.empty_like(priority)


define(
    "priority_leaves(Tensor index, Tensor priority, Tensor? stamp, Tensor stamps, float eps, float alpha,"
    " Tensor(a!) entry, Tensor(b!) faults) -> (Tensor, Tensor, Tensor)",
    kernels=leaves_kernels,
    portable=_leaves_torch,
    fake=_fake_leaves,
)
