"""From priorities to leaves: which entries count, what they become, and how those that must not are told."""

import math

import pytest
import torch
from torch import Tensor

import rl_cuda
from rl_cuda._faults import Faults
from rl_cuda._priority_leaves import priority_leaves


def doubles(numbers: list[float], device: torch.device) -> Tensor:
    """`[N]` float64."""
    return torch.tensor(numbers, dtype=torch.float64, device=device)


def test_hand_computed(device: torch.device) -> None:
    """Rows that are not there, were overwritten, do not exist, or get no proper number, are left out and counted."""
    index = torch.tensor([0, 1, 2, 3, -1, 4, 0, 0], device=device)
    priority = doubles([3.0, 8.0, 1.0, 1.0, 1.0, 1.0, -1.0, math.nan], device)
    stamp = torch.tensor([5, 6, 8, 0, 1, 1, 5, 5], device=device)
    stamps = torch.tensor([5, 6, 7, 0], device=device)
    entry, faults = doubles([1.5], device)[0], torch.zeros(2, dtype=torch.int64, device=device)
    row, leaf, floor = priority_leaves(
        index, priority, stamp, stamps=stamps, eps=1.0, alpha=0.5, entry=entry, faults=faults
    )
    assert row.tolist() == [0, 1, -1, 3, -1, -1, -1, -1]
    assert leaf[:2].tolist() == [2.0, 3.0]
    assert floor[:2].tolist() == [2.0, 3.0]
    assert entry.item() == 3.0
    assert faults.tolist() == [2, 2]


def test_without_stamps_every_row_that_is_there_counts(device: torch.device) -> None:
    """No stamps given: rows that were written at all get their priorities; a leaf of zero has an infinite floor."""
    index, stamps = torch.tensor([0, 1], device=device), torch.tensor([3, 0], device=device)
    entry, faults = doubles([0.0], device)[0], torch.zeros(2, dtype=torch.int64, device=device)
    row, leaf, floor = priority_leaves(
        index, doubles([0.0, 1.0], device), None, stamps=stamps, eps=0.0, alpha=1.0, entry=entry, faults=faults
    )
    assert row.tolist() == [0, -1]
    assert leaf.tolist() == [0.0, 1.0]
    assert floor.tolist() == [math.inf, 1.0]
    assert faults.tolist() == [0, 0]


def test_a_priority_too_large_for_its_power_is_a_fault(device: torch.device) -> None:
    """Infinite priorities, and those whose power is infinite, are left out."""
    index, stamps = torch.tensor([0, 0], device=device), torch.tensor([1], device=device)
    for alpha in (2.0, 0.0):
        entry, faults = doubles([0.0], device)[0], torch.zeros(2, dtype=torch.int64, device=device)
        priority = doubles([math.inf, 1e200 if alpha else math.inf], device)
        row, _, _ = priority_leaves(
            index, priority, None, stamps=stamps, eps=0.0, alpha=alpha, entry=entry, faults=faults
        )
        assert row.tolist() == [-1, -1]
        assert faults.tolist() == [2, 0]
        assert entry.item() == 0.0


def test_operator_is_registered_correctly(device: torch.device) -> None:
    """Schema, fake implementation and tracing of the operator agree with what it does."""
    index, stamps = torch.tensor([0, 1], device=device), torch.tensor([3, 1], device=device)
    entry, faults = doubles([0.0], device)[0], torch.zeros(2, dtype=torch.int64, device=device)
    arguments = (index, doubles([0.5, 1.0], device), stamps, stamps, 0.1, 0.6, entry, faults)
    torch.library.opcheck(torch.ops.rl_cuda.priority_leaves.default, arguments)


@pytest.mark.parametrize(
    ("counts", "error", "text"),
    [
        ([2, 1], ValueError, "finite numbers >= 0, found 2 others"),
        ([0, 3], IndexError, "rows of the buffer, found 3 others"),
    ],
)
def test_counted_faults_are_raised_once(counts: list[int], error: type[Exception], text: str) -> None:
    """What was counted is raised with its number, and then forgotten."""
    faults = Faults("CudaPrioritizedSampler", torch.device("cpu"))
    faults.raise_all()
    faults.counts.copy_(torch.tensor(counts))
    with pytest.raises(error, match=f"CudaPrioritizedSampler.*{text}"):
        faults.raise_all()
    faults.raise_all()


@pytest.mark.parametrize(("leaf", "is_fault"), [(1.0, False), (0.0, True), (1e308, True), (math.nan, True)])
def test_an_empty_draw_is_a_fault(device: torch.device, leaf: float, is_fault: bool) -> None:
    """A draw where all priorities are zero or their sum is infinite is counted once; any other is none."""
    faults = Faults("CudaPrioritizedSampler", device)
    tree = rl_cuda.new_sum_tree(64, device=device)
    tree[:64] = leaf
    rl_cuda.tree_rebuild(tree, "sum")
    one = torch.ones((), dtype=torch.float64, device=device)
    index, weight = rl_cuda.sum_tree_sample(
        tree, doubles([0.5] * 40, device), reference=one, beta=one, empty=faults.empty
    )
    assert faults.empty.item() == int(is_fault)
    assert bool((index == -1).all()) == bool(weight.isnan().all()) == is_fault
    if is_fault:
        with pytest.raises(RuntimeError, match="all rows had priority 0, or priorities added up to infinity"):
            faults.raise_all()
    faults.raise_all()
