"""The trees behind prioritized sampling on a device: sums to draw by, minima and maxima of what is stored."""

import math
from typing import final

import torch
from torch import Tensor

from rl_cuda._kernels import define, launch, update_scratch
from rl_cuda._layout import new_max_tree, new_min_tree, new_sum_tree, tree_leaves
from rl_cuda._tree_update import max_tree_update, tree_rebuild
from rl_cuda._tree_update_torch import tree_update_torch


@final
class PriorityTrees:
    """Leaves `(p + eps) ** alpha` of all rows, float64, in step with each other; nothing here waits for the device.

    Args:
        capacity: number of rows.
        first_leaf: leaf of a row that is written where there is no other.
        has_minimum: whether the smallest positive leaf is kept.
        has_maximum: whether new rows enter with the largest leaf of those stored, else with the largest there ever was.
        device: where the trees live.
    """

    def __init__(
        self, capacity: int, first_leaf: float, *, has_minimum: bool, has_maximum: bool, device: torch.device
    ) -> None:
        self._first_leaf = first_leaf
        self.sums = new_sum_tree(capacity, device=device)
        self.minima = new_min_tree(capacity, device=device) if has_minimum else None
        self.maxima = new_max_tree(capacity, device=device) if has_maximum else None
        self.entry = torch.full((), first_leaf, dtype=torch.float64, device=device)

    def enter(self, rows: Tensor, *, is_new: bool) -> None:
        """Rows `[n]` were written: they get the largest leaf of the others.

        Args:
            rows: int64 `[n]`.
            is_new: whether no row was there before.
        """
        if self.maxima is None:
            leaf = self.entry.expand(len(rows)).contiguous()
        else:
            if not is_new:
                zeros = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
                max_tree_update(self.maxima, rows, zeros, check_index=False)
            largest = self.maxima[-1]
            leaf = torch.where(largest > 0, largest, self._first_leaf).expand(len(rows)).contiguous()
        self.update(rows, leaf, leaf)

    def update(self, rows: Tensor, leaf: Tensor, floor: Tensor) -> None:
        """Rows `[n]`, of which those out of range are left out, get leaves; `floor` is infinite for a leaf of zero."""
        torch.ops.rl_cuda.three_trees_update(self.sums, self.minima, self.maxima, rows, leaf, floor)

    def clear(self) -> None:
        """There are no rows any more."""
        self.sums.zero_()
        if self.minima is not None:
            self.minima.fill_(math.inf)
        if self.maxima is not None:
            self.maxima.fill_(-math.inf)
        self.entry.fill_(self._first_leaf)

    def load(self, leaves: Tensor, entry: float) -> None:
        """The first rows get the leaves `[n]`, the others none."""
        self.clear()
        self.sums[: len(leaves)] = leaves
        tree_rebuild(self.sums, "sum")
        if self.minima is not None:
            self.minima[: len(leaves)] = torch.where(leaves > 0, leaves, math.inf)
            tree_rebuild(self.minima, "min")
        if self.maxima is not None:
            self.maxima[: len(leaves)] = leaves
            tree_rebuild(self.maxima, "max")
        self.entry.fill_(entry)


def three_trees_kernels(
    sums: Tensor, minima: Tensor | None, maxima: Tensor | None, index: Tensor, leaf: Tensor, floor: Tensor
) -> None:
    """The operator with the CUDA kernels."""
    batch = index.numel()
    scratch = update_scratch(batch, sums.device)
    trees = (sums, minima, maxima, tree_leaves(sums.numel()))
    launch("three_trees_update", sums, *trees, index, leaf, floor, batch, scratch)


def _three_trees_torch(
    sums: Tensor, minima: Tensor | None, maxima: Tensor | None, index: Tensor, leaf: Tensor, floor: Tensor
) -> None:
    tree_update_torch(sums, index, leaf, "sum")
    if minima is not None:
        tree_update_torch(minima, index, floor, "min")
    if maxima is not None:
        tree_update_torch(maxima, index, leaf, "max")


def _fake_three_trees(
    sums: Tensor, minima: Tensor | None, maxima: Tensor | None, index: Tensor, leaf: Tensor, floor: Tensor
) -> None:
    """Nothing to compute: the operator returns nothing."""


define(
    "three_trees_update(Tensor(a!) sums, Tensor(b!)? minima, Tensor(c!)? maxima, Tensor index, Tensor leaf,"
    " Tensor floor) -> ()",
    kernels=three_trees_kernels,
    portable=_three_trees_torch,
    fake=_fake_three_trees,
)
