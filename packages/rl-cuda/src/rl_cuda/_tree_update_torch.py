"""Batched update of a tree in plain torch: the results of the kernels, bit for bit, on any device."""

import itertools

import torch
from torch import Tensor

from rl_cuda._layout import FAN_OUT, Kind, tree_leaves, tree_levels


def sum_tree_update_torch(tree: Tensor, index: Tensor, value: Tensor) -> None:
    """The same as `sum_tree_update` in plain torch operations, on any device; checks nothing and never waits for it.

    Args:
        tree: `[tree_numel(capacity)]` float32 or float64.
        index: `[N]` int64, leaves to set. Those out of range are left out.
        value: `[N]` dtype of `tree`, their new values.
    """
    tree_update_torch(tree, index, value, "sum")


def tree_update_torch(tree: Tensor, index: Tensor, value: Tensor, kind: Kind) -> None:
    """See `sum_tree_update_torch`, for any kind of tree."""
    if index.numel() == 0:
        return
    leaves = tree_leaves(tree.numel())
    leaf, value = _last_values(tree, index, value, leaves)
    tree[leaf] = value
    _recompute(tree, leaves, kind, leaf)


def tree_rebuild_torch(tree: Tensor, kind: Kind) -> None:
    """Recompute every node from the leaves."""
    _recompute(tree, tree_leaves(tree.numel()), kind, None)


def _last_values(tree: Tensor, index: Tensor, value: Tensor, leaves: int) -> tuple[Tensor, Tensor]:
    """`(leaf, value)`, both `[N]`: entries of one leaf have one value, that of the last of them.

    An entry out of range becomes a copy of one in range, or, where there is none, sets a leaf to what it is.
    """
    batch = index.numel()
    key = torch.where((index >= 0) & (index < leaves), index, leaves)
    key, order = torch.sort(key, stable=True)
    position = torch.arange(batch, device=index.device)
    is_last = torch.ones(batch, dtype=torch.bool, device=index.device)
    torch.ne(key[1:], key[:-1], out=is_last[:-1])
    last = torch.where(is_last, position, batch).flip(0).cummin(0).values.flip(0)
    value = value[order[last]]
    first = torch.where(key[:1] < leaves, key[:1], 0)
    stand_in = torch.where(key[:1] < leaves, value[:1], tree[:1])
    return torch.where(key < leaves, key, first), torch.where(key < leaves, value, stand_in)


def _recompute(tree: Tensor, leaves: int, kind: Kind, leaf: Tensor | None) -> None:
    """The nodes above `leaf`, level after level; all nodes without it."""
    for number, (below, level) in enumerate(itertools.pairwise(tree_levels(leaves))):
        children = tree[below.start : below.start + level.nodes * FAN_OUT].view(-1, FAN_OUT)
        nodes = tree[level.start : level.start + level.nodes]
        if leaf is None or level.nodes <= leaf.numel():
            nodes.copy_(_fold(children, kind))
        else:
            which = leaf >> 5 * (number + 1)
            nodes[which] = _fold(children[which], kind)


def _fold(children: Tensor, kind: Kind) -> Tensor:
    """Combine over the last dimension, halves folded onto each other: the order in which a warp does it."""
    while children.shape[-1] > 1:
        half = children.shape[-1] // 2
        low, high = children[..., :half], children[..., half:]
        if kind == "sum":
            children = low + high
        else:
            children = torch.minimum(low, high) if kind == "min" else torch.maximum(low, high)
    return children[..., 0]
