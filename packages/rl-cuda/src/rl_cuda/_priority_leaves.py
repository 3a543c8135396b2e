"""From the priorities of a batch to the leaves of the trees, as an operator of torch."""

import torch
from torch import Tensor

from rl_cuda._kernels import define, launch
from rl_cuda._priority_leaves_torch import priority_leaves_torch


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
    """Leaves `(priority + eps) ** alpha` of the rows whose priority is to change; no tensor has gaps.

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
    *raised: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The operator with the CUDA kernels; `raised` are `entry` and `faults`."""
    results = _fake_leaves(index, priority)
    inputs = (index, priority, stamp, stamps, stamps.numel(), eps, alpha, index.numel())
    launch("priority_leaves", priority, *inputs, *raised, *results)
    return results


def _fake_leaves(index: Tensor, priority: Tensor, *others: Tensor | float | None) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(index), torch.empty_like(priority), torch.empty_like(priority)


define(
    "priority_leaves(Tensor index, Tensor priority, Tensor? stamp, Tensor stamps, float eps, float alpha,"
    " Tensor(a!) entry, Tensor(b!) faults) -> (Tensor, Tensor, Tensor)",
    kernels=leaves_kernels,
    portable=priority_leaves_torch,
    fake=_fake_leaves,
)
