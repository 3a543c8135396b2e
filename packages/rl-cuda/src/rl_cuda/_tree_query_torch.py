"""Walks down a sum tree in plain torch: the leaves that the kernels find, on any device."""

import math

import torch
from torch import Tensor

from rl_cuda._layout import FAN_OUT, tree_leaves, tree_levels


def sum_tree_find_torch(tree: Tensor, prefix: Tensor) -> Tensor:
    """The same as `sum_tree_find` in plain torch operations; checks nothing and never waits for the device.

    Args:
        tree: `[tree_numel(capacity)]` float32 or float64.
        prefix: `[N]` float64.
    Returns:
        `[N]` int64.
    """
    levels = tree_levels(tree_leaves(tree.numel()))
    lanes = torch.arange(FAN_OUT, device=tree.device)
    node = torch.zeros(prefix.shape, dtype=torch.int64, device=tree.device)
    rest = prefix
    for level in reversed(levels[:-1]):
        child = tree[(level.start + node * FAN_OUT).unsqueeze(-1) + lanes].to(torch.float64)
        upto = _running_sum(child)
        is_positive = child > 0
        reached = torch.where(is_positive & (upto > rest.unsqueeze(-1)), lanes, FAN_OUT).amin(-1)
        last = torch.where(is_positive, lanes, 0).amax(-1)
        chosen = torch.where(reached < FAN_OUT, reached, last)
        before = upto.gather(-1, (chosen - 1).clamp(min=0).unsqueeze(-1)).squeeze(-1)
        before = torch.where(chosen > 0, before, 0.0)
        rest = torch.where(before < rest, rest - before, 0.0)
        node = node * FAN_OUT + chosen
    return torch.where(tree[-1] > 0, node, -1)


def sum_tree_sample_torch(
    tree: Tensor, uniform: Tensor, reference: Tensor, beta: Tensor, empty: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The same as `sum_tree_sample` in plain torch operations; checks nothing and never waits for the device.

    Args:
        tree, uniform, reference, beta: see there.
        empty: `[]` int64, gets one more in place where nothing can be drawn.
    """
    count = uniform.numel()
    strata = torch.arange(count, dtype=torch.float64, device=tree.device)
    total = tree[-1].to(torch.float64)
    is_sum = (total > 0) & (total < math.inf)
    if empty is not None and count:
        empty.add_(~is_sum)
    width = total / torch.full((), count, dtype=torch.float64, device=tree.device)
    index = torch.where(is_sum, sum_tree_find_torch(tree, (strata + uniform) * width), -1)
    leaf = tree[index.clamp(min=0)].to(torch.float64)
    weight = (reference.to(torch.float64) / leaf) ** beta
    return index, torch.where(index < 0, torch.nan, weight).to(tree.dtype)


def _running_sum(x: Tensor) -> Tensor:
    """Sums up to each element of the last dimension, in the order in which a warp adds."""
    offset = 1
    while offset < x.shape[-1]:
        x = torch.cat((x[..., :offset], x[..., offset:] + x[..., :-offset]), -1)
        offset *= 2
    return x
