"""The trees behind prioritized sampling: in step with each other, and equal to trees that are updated one by one."""

from typing import Any

import pytest
import torch

import rl_cuda
from rl_cuda._priority_trees import PriorityTrees

CAPACITY = 2_000


def make(device: torch.device, has_minimum: bool = True, has_maximum: bool = True) -> PriorityTrees:
    """Trees with the first leaf 1."""
    return PriorityTrees(CAPACITY, 1.0, has_minimum=has_minimum, has_maximum=has_maximum, device=device)


@pytest.mark.parametrize("batch", [1, 64, 65, 2_048, 2_049, 5_000])
@pytest.mark.parametrize("has_minimum", [True, False])
@pytest.mark.parametrize("has_maximum", [True, False])
def test_together_as_one_by_one(
    device_in_any_order: torch.device, batch: int, has_minimum: bool, has_maximum: bool
) -> None:
    """An update of all trees at once gives each the bits that an update of its own gives it."""
    device = device_in_any_order
    generator = torch.Generator().manual_seed(batch)
    trees = make(device, has_minimum, has_maximum)
    expected = rl_cuda.new_sum_tree(CAPACITY), rl_cuda.new_min_tree(CAPACITY), rl_cuda.new_max_tree(CAPACITY)
    for _ in range(2):
        index = torch.randint(-5, CAPACITY, (batch,), generator=generator)
        leaf, floor = torch.rand(2, batch, generator=generator, dtype=torch.float64)
        trees.update(index.to(device), leaf.to(device), floor.to(device))
        updates: Any = (rl_cuda.sum_tree_update, rl_cuda.min_tree_update, rl_cuda.max_tree_update)
        for update, tree, value in zip(updates, expected, (leaf, floor, leaf), strict=True):
            update(tree, index, value, check_index=False)
    for found, tree in zip((trees.sums, trees.minima, trees.maxima), expected, strict=True):
        assert found is None or torch.equal(found.cpu(), tree)


def test_rows_enter_with_the_largest_leaf_of_the_others(device: torch.device) -> None:
    """The first rows get the first leaf; a row that replaces the largest gets the largest of what is left."""
    trees = make(device)
    index = torch.arange(3, device=device)
    trees.enter(index, is_new=True)
    assert trees.sums[:3].tolist() == [1.0, 1.0, 1.0]
    leaf = torch.tensor([2.0, 7.0, 3.0], dtype=torch.float64, device=device)
    trees.update(index, leaf, leaf)
    trees.enter(index[1:2], is_new=False)
    assert trees.sums[:3].tolist() == [2.0, 3.0, 3.0]
    assert trees.minima is not None
    assert trees.minima[-1].item() == 2.0


def test_rows_enter_with_the_largest_leaf_there_ever_was(device: torch.device) -> None:
    """Without a tree of maxima, the largest leaf of all times counts."""
    trees = make(device, has_maximum=False)
    trees.entry.fill_(9.0)
    trees.enter(torch.arange(2, device=device), is_new=True)
    assert trees.sums[-1].item() == 18.0


def test_loaded_leaves_are_those_of_all_trees(device: torch.device) -> None:
    """A loaded leaf of zero is no minimum; whatever was there before is gone."""
    trees = make(device)
    trees.enter(torch.arange(100, device=device), is_new=True)
    trees.load(torch.tensor([0.0, 4.0, 2.0], dtype=torch.float64, device=device), 5.0)
    assert trees.minima is not None
    assert trees.maxima is not None
    assert [tree[-1].item() for tree in (trees.sums, trees.minima, trees.maxima, trees.entry[None])] == [6, 2, 4, 5]


def test_operator_is_registered_correctly(device: torch.device) -> None:
    """Schema, fake implementation and tracing of the operator agree with what it does, with and without all trees."""
    trees = make(device)
    leaf = torch.tensor([2.0, 7.0, 3.0], dtype=torch.float64, device=device)
    operator = torch.ops.rl_cuda.three_trees_update.default
    torch.library.opcheck(
        operator, (trees.sums, trees.minima, trees.maxima, torch.arange(3, device=device), leaf, leaf)
    )
    torch.library.opcheck(operator, (trees.sums, None, None, torch.arange(3, device=device), leaf, leaf))
