"""Where the levels of a sum tree of fan-out 32 lie in its one tensor.

Level after level, leaves first. A level of n nodes is padded with zeros to a multiple of 32, and the nodes
`[32 k, 32 k + 32)` of a level are the children of node k of the level above. The last level is the root alone, so
`tree[-1]` is the sum of all leaves and `tree[:capacity]` are the leaves. 1,000,000 leaves take 1,032,289 elements.
"""

import functools
from dataclasses import dataclass

import torch

from rl_specs import ShapeError, message

FAN_OUT = 32


@dataclass(frozen=True)
class Level:
    """One level: where it starts, and how many nodes it has, padding not counted (for the leaves, counted)."""

    start: int
    nodes: int


def tree_levels(leaves: int) -> list[Level]:
    """The levels of a tree, from the leaves to the root.

    Args:
        leaves: number of leaves, a multiple of 32.
    """
    levels = [Level(0, leaves)]
    while levels[-1].nodes > 1:
        below = levels[-1]
        levels.append(Level(below.start + _padded(below.nodes), _padded(below.nodes) // FAN_OUT))
    return levels


def tree_numel(capacity: int) -> int:
    """Number of elements of a tree with room for `capacity` leaves.

    Args:
        capacity: number of leaves, at least 1; the tree has that number rounded up to a multiple of 32.
    Raises:
        ValueError: `capacity` is below 1.
    """
    if capacity < 1:
        raise ValueError(message("tree_numel", "a sum tree has at least one leaf", expected=">= 1", found=capacity))
    return tree_levels(_padded(capacity))[-1].start + 1


@functools.lru_cache(maxsize=256)
def tree_leaves(numel: int) -> int:
    """Number of leaves, padding counted, of a tree of `numel` elements.

    Raises:
        ShapeError: no tree has that number of elements.
    """
    low, high = 0, numel // FAN_OUT
    while low < high:  # the size grows with the number of leaves, so there is at most one answer
        middle = (low + high + 1) // 2
        low, high = (middle, high) if tree_numel(FAN_OUT * middle) <= numel else (low, middle - 1)
    if low == 0 or tree_numel(FAN_OUT * low) != numel:
        raise ShapeError(
            message(
                "sum_tree_update",
                "tree has a number of elements that no sum tree has",
                expected="tree_numel(capacity) elements",
                found=numel,
                fix="Make the tree with new_sum_tree(capacity)",
            )
        )
    return FAN_OUT * low


def new_sum_tree(
    capacity: int, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
) -> torch.Tensor:
    """A sum tree with all leaves zero.

    Args:
        capacity: number of leaves, at least 1, rounded up to a multiple of 32.
        dtype: `torch.float32` or `torch.float64`.
        device: where it lives.
    Returns:
        `[tree_numel(capacity)]` zeros: leaves at `[:capacity]`, their sum at `[-1]`.
    Raises:
        ValueError: `capacity` is below 1.
    """
    return torch.zeros(tree_numel(capacity), dtype=dtype, device=device)


def _padded(nodes: int) -> int:
    return -(-nodes // FAN_OUT) * FAN_OUT
