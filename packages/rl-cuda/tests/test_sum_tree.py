"""The batched sum-tree update: against hand-computed trees, a slow reference, and its promises on order and errors."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rl_cuda
from rl_specs import DeviceError, DTypeError, ShapeError


def slow_update(tree: list[float], capacity: int, index: list[int], value: list[float]) -> list[float]:
    """Set the leaves one after another, then sum every group of 32 by folding halves, level by level."""
    leaves = -(-capacity // 32) * 32
    level = tree[:leaves]
    for i, v in zip(index, value, strict=True):
        level[i] = v
    result: list[float] = []
    while True:
        level += [0.0] * (-len(level) % 32)
        result += level
        above = []
        for start in range(0, len(level), 32):
            group = level[start : start + 32]
            while len(group) > 1:
                half = len(group) // 2
                group = [group[i] + group[half + i] for i in range(half)]
            above.append(group[0])
        if len(above) == 1:
            return [*result, above[0]]
        level = above


@st.composite
def updates(draw: st.DrawFn) -> tuple[int, list[list[tuple[int, float]]]]:
    """A capacity and a few batches of (leaf, value), with repeated leaves."""
    capacity = draw(st.sampled_from([1, 31, 32, 33, 1024, 1025, 3000]))
    pair = st.tuples(st.integers(0, capacity - 1), st.floats(0, 1e6))
    return capacity, draw(st.lists(st.lists(pair, max_size=60), min_size=1, max_size=3))


@given(updates())
@settings(max_examples=60, deadline=None)
def test_equals_slow_reference_bit_for_bit(
    device: torch.device, work: tuple[int, list[list[tuple[int, float]]]]
) -> None:
    """Any sequence of batches leaves exactly the tree that setting leaves one by one and summing anew gives."""
    capacity, batches = work
    tree = rl_cuda.new_sum_tree(capacity, device=device)
    expected = tree.tolist()
    for batch in batches:
        index, value = [i for i, _ in batch], [v for _, v in batch]
        rl_cuda.sum_tree_update(
            tree,
            torch.tensor(index, dtype=torch.int64, device=device),
            torch.tensor(value, dtype=torch.float64, device=device),
        )
        expected = slow_update(expected, capacity, index, value)
    assert tree.tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("batch", [1, 300, 40_000])
def test_device_equals_plain_torch_bit_for_bit(device: torch.device, dtype: torch.dtype, batch: int) -> None:
    """Every device gives the bits of the plain torch form, for batches below and above the size of a level."""
    generator = torch.Generator().manual_seed(batch)
    trees = [rl_cuda.new_sum_tree(33_000, dtype=dtype, device=place) for place in (device, "cpu")]
    for _ in range(2):
        index = torch.randint(33_000, (batch,), generator=generator)
        value = torch.rand(batch, generator=generator, dtype=dtype)
        rl_cuda.sum_tree_update(trees[0], index.to(device), value.to(device))
        rl_cuda.sum_tree_update_torch(trees[1], index, value)
    assert torch.equal(trees[0].cpu(), trees[1])


def test_hand_computed(device: torch.device) -> None:
    """Three leaves under two parents give their sums at the parents and at the root."""
    tree = rl_cuda.new_sum_tree(40, device=device)
    index = torch.tensor([0, 31, 32], device=device)
    rl_cuda.sum_tree_update(tree, index, torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64, device=device))
    assert tree.numel() == 64 + 32 + 1
    assert tree[64:66].tolist() == [3.0, 4.0]
    assert tree[-1].item() == 7.0


def test_last_of_repeated_leaves_wins(device: torch.device) -> None:
    """Of 10,000 values for one leaf the last one is kept, whatever the order in which the device works."""
    tree = rl_cuda.new_sum_tree(100, dtype=torch.float32, device=device)
    index = torch.full((10_000,), 7, device=device)
    value = torch.arange(10_000, dtype=torch.float32, device=device)
    rl_cuda.sum_tree_update(tree, index, value)
    assert tree[7].item() == 9_999.0
    assert tree[-1].item() == 9_999.0


def test_does_not_drift() -> None:
    """After 2,000 updates with values of very different size, the root is still the sum of the leaves in tree order."""
    tree = rl_cuda.new_sum_tree(64, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    for step in range(2_000):
        value = torch.rand(4, generator=generator) * 10.0 ** (step % 8)
        rl_cuda.sum_tree_update(tree, torch.randint(64, (4,), generator=generator), value)
    fresh = rl_cuda.new_sum_tree(64, dtype=torch.float32)
    rl_cuda.sum_tree_update(fresh, torch.arange(64), tree[:64].clone())
    assert torch.equal(tree, fresh)


def test_empty_batch_changes_nothing(device: torch.device) -> None:
    """An update with no entries leaves the tree as it is."""
    tree = rl_cuda.new_sum_tree(64, device=device)
    empty = torch.empty(0, device=device)
    rl_cuda.sum_tree_update(tree, empty.to(torch.int64), empty.to(torch.float64))
    assert not tree.any()


def test_runs_inside_a_compiled_function(device: torch.device) -> None:
    """A function that updates a tree compiles as one graph and gives the same bits."""

    def update(tree: torch.Tensor, index: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        rl_cuda.sum_tree_update(tree, index, value * 2)
        return tree[-1] + 1

    index = torch.tensor([3, 40, 3], device=device)
    value = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, device=device)
    tree = rl_cuda.new_sum_tree(64, device=device)
    compiled: Any = torch.compile(update, backend="eager", fullgraph=True)
    assert compiled(tree, index, value).item() == 11.0
    expected = rl_cuda.new_sum_tree(64, device=device)
    update(expected, index, value)
    assert torch.equal(tree, expected)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"tree": torch.zeros(65, dtype=torch.float16)}, DTypeError, "tree has a wrong dtype"),
        ({"tree": torch.zeros(66, dtype=torch.float64)}, ShapeError, "new_sum_tree"),
        ({"tree": torch.zeros(1, 97, dtype=torch.float64)}, ShapeError, "tree has a wrong shape"),
        ({"tree": torch.zeros(194, dtype=torch.float64)[::2]}, ShapeError, "tree is not contiguous"),
        ({"index": torch.zeros(2, dtype=torch.int32)}, DTypeError, r"index\.to\(torch\.int64\)"),
        ({"index": torch.zeros(3, dtype=torch.int64)}, ShapeError, "3 and 2"),
        ({"index": torch.tensor([0, 64])}, IndexError, "0 <= index < 64.*found 64"),
        ({"index": torch.tensor([-1, 0])}, IndexError, "found -1"),
        ({"value": torch.zeros(2)}, DTypeError, "value has a wrong dtype.*float64.*float32"),
        ({"value": torch.zeros(2, dtype=torch.float64, device="meta")}, DeviceError, "another device.*cpu.*meta"),
    ],
)
def test_bad_input_is_named(change: dict[str, torch.Tensor], error: type[Exception], text: str) -> None:
    """Each kind of wrong input raises its error, which says which tensor is wrong, how, and what was expected."""
    good = {
        "tree": rl_cuda.new_sum_tree(40),
        "index": torch.tensor([0, 1]),
        "value": torch.tensor([1.0, 2.0], dtype=torch.float64),
    }
    tensors = good | change
    with pytest.raises(error, match=text):
        rl_cuda.sum_tree_update(tensors["tree"], tensors["index"], tensors["value"])


def test_bad_input_leaves_the_tree_alone() -> None:
    """An index out of range is found before anything is written."""
    tree = rl_cuda.new_sum_tree(40)
    with pytest.raises(IndexError):
        rl_cuda.sum_tree_update(tree, torch.tensor([0, 64]), torch.ones(2, dtype=torch.float64))
    assert not tree.any()
