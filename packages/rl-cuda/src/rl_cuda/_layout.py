"""Where the levels of a tree of fan-out 32 lie in its one tensor.

Level after level, leaves first. A level of n nodes is padded to a multiple of 32, and the nodes `[32 k, 32 k + 32)` of
a level are the children of node k of the level above. The last level is the root alone, so `tree[-1]` is the sum
(minimum, maximum) of all leaves and `tree[:capacity]` are the leaves. The padding holds the neutral element: zero in a
sum tree, plus or minus infinity in a min or max tree. 1,000,000 leaves take 1,032,289 elements.
"""

import functools
import math
from dataclasses import dataclass
from typing import Literal

import torch

from rl_specs import ShapeError, message

FAN_OUT = 32
MAX_LEAVES = 2**31

Kind = Literal["sum", "min", "max"]
NEUTRAL: dict[Kind, float] = {"sum": 0.0, "min": math.inf, "max": -math.inf}


@dataclass(frozen=True)
class Level:
    """One level: where it starts, and how many nodes it has, padding not counted (for the leaves, counted)."""

    start: int
    nodes: int


@functools.lru_cache(maxsize=256)
def tree_levels(leaves: int) -> tuple[Level, ...]:
    """The levels of a tree, from the leaves to the root.

    Args:
        leaves: number of leaves, a multiple of 32.
    """
    levels = [Level(0, leaves)]
    while levels[-1].nodes > 1:
        below = levels[-1]
        levels.append(Level(below.start + _padded(below.nodes), _padded(below.nodes) // FAN_OUT))
    return tuple(levels)


def tree_numel(capacity: int) -> int:
    """Number of elements of a tree with room for `capacity` leaves.

    Args:
        capacity: number of leaves, from 1 to 2**31; the tree has that number rounded up to a multiple of 32.
    Raises:
        ValueError: `capacity` is out of range.
    """
    if not 1 <= capacity <= MAX_LEAVES:
        expected = ">= 1" if capacity < 1 else f"<= {MAX_LEAVES}"
        raise ValueError(message("tree_numel", "wrong number of leaves", expected=expected, found=capacity))
    return tree_levels(_padded(capacity))[-1].start + 1


@functools.lru_cache(maxsize=256)
def tree_leaves(numel: int) -> int:
    """Number of leaves, padding counted, of a tree of `numel` elements.

    Raises:
        ShapeError: no tree has that number of elements.
    """
    low, high = 0, min(numel, MAX_LEAVES) // FAN_OUT
    while low < high:  # the size grows with the number of leaves, so there is at most one answer
        middle = (low + high + 1) // 2
        low, high = (middle, high) if tree_levels(FAN_OUT * middle)[-1].start < numel else (low, middle - 1)
    if low == 0 or tree_numel(FAN_OUT * low) != numel:
        raise ShapeError(
            message(
                "tree_leaves",
                "tree has a number of elements that no tree has",
                expected="tree_numel(capacity) elements",
                found=numel,
                fix="Make the tree with new_sum_tree(capacity), new_min_tree(capacity) or new_max_tree(capacity)",
            )
        )
    return FAN_OUT * low


def new_sum_tree(
    capacity: int, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
) -> torch.Tensor:
    """A sum tree with all leaves zero.

    Args:
        capacity: number of leaves, from 1 to 2**31, rounded up to a multiple of 32.
        dtype: `torch.float32` or `torch.float64`.
        device: where it lives.
    Returns:
        `[tree_numel(capacity)]` zeros: leaves at `[:capacity]`, their sum at `[-1]`.
    Raises:
        ValueError: `capacity` is out of range.
    """
    return _new_tree("sum", capacity, dtype, device)


def new_min_tree(
    capacity: int, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
) -> torch.Tensor:
    """A tree of minima with all leaves at plus infinity; see `new_sum_tree`.

    Raises:
        ValueError: `capacity` is out of range.
    """
    return _new_tree("min", capacity, dtype, device)


def new_max_tree(
    capacity: int, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
) -> torch.Tensor:
    """A tree of maxima with all leaves at minus infinity; see `new_sum_tree`.

    Raises:
        ValueError: `capacity` is out of range.
    """
    return _new_tree("max", capacity, dtype, device)


def _new_tree(kind: Kind, capacity: int, dtype: torch.dtype, device: torch.device | str | None) -> torch.Tensor:
    return torch.full((tree_numel(capacity),), NEUTRAL[kind], dtype=dtype, device=device)


def _padded(nodes: int) -> int:
    return -(-nodes // FAN_OUT) * FAN_OUT
