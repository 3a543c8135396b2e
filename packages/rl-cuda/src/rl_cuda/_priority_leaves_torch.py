"""From the priorities of a batch to leaves in plain torch, on any device."""

import math

import torch
from torch import Tensor


def priority_leaves_torch(
    index: Tensor,
    priority: Tensor,
    stamp: Tensor | None,
    stamps: Tensor,
    eps: float,
    alpha: float,
    entry: Tensor,
    faults: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same as `priority_leaves` in plain torch operations; checks nothing and never waits for the device."""
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
