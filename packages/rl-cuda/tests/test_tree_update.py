"""Batched tree updates: against hand-computed trees, a slow reference, and the promises on order, range and errors."""

import mmap
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import rl_cuda
from rl_cuda._layout import Kind
from rl_cuda._tree_update_torch import tree_update_torch
from rl_specs import DeviceError, DTypeError, ShapeError

KINDS: tuple[Kind, ...] = ("sum", "min", "max")
NEW: dict[str, Callable[..., Tensor]] = {
    "sum": rl_cuda.new_sum_tree,
    "min": rl_cuda.new_min_tree,
    "max": rl_cuda.new_max_tree,
}
UPDATE: dict[str, Callable[..., None]] = {
    "sum": rl_cuda.sum_tree_update,
    "min": rl_cuda.min_tree_update,
    "max": rl_cuda.max_tree_update,
}
COMBINE: dict[str, Callable[[float, float], float]] = {"sum": lambda a, b: a + b, "min": min, "max": max}
NEUTRAL = {"sum": 0.0, "min": float("inf"), "max": float("-inf")}
lax = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def slow_update(kind: str, tree: list[float], capacity: int, index: list[int], value: list[float]) -> list[float]:
    """Set the leaves one after another, then combine every group of 32 by folding halves, level by level."""
    level = tree[: -(-capacity // 32) * 32]
    for i, v in zip(index, value, strict=True):
        level[i] = v
    result: list[float] = []
    while True:
        level += [NEUTRAL[kind]] * (-len(level) % 32)
        result += level
        above = []
        for start in range(0, len(level), 32):
            group = level[start : start + 32]
            while len(group) > 1:
                half = len(group) // 2
                group = [COMBINE[kind](group[i], group[half + i]) for i in range(half)]
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


@pytest.mark.parametrize("kind", KINDS)
@given(work=updates())
@lax
def test_equals_slow_reference_bit_for_bit(
    device_in_any_order: torch.device, kind: Kind, work: tuple[int, list[list[tuple[int, float]]]]
) -> None:
    """Any sequence of batches leaves exactly the tree that setting leaves one by one and combining anew gives."""
    capacity, batches = work
    device = device_in_any_order
    tree = NEW[kind](capacity, device=device)
    expected = tree.tolist()
    for batch in batches:
        index, value = [i for i, _ in batch], [v for _, v in batch]
        UPDATE[kind](
            tree,
            torch.tensor(index, dtype=torch.int64, device=device),
            torch.tensor(value, dtype=torch.float64, device=device),
        )
        expected = slow_update(kind, expected, capacity, index, value)
    assert tree.tolist() == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("batch", [1, 64, 65, 2048, 2049, 10_000])
def test_every_device_gives_the_same_bits(device: torch.device, kind: Kind, dtype: torch.dtype, batch: int) -> None:
    """Batches of all sizes, on either side of each limit between two ways, give the bits of the plain torch form, which
    sets the last value of each leaf.
    """
    generator = torch.Generator().manual_seed(batch)
    tree = NEW[kind](33_000, dtype=dtype, device=device)
    leaves = tree[:33_024].tolist()
    for _ in range(2):
        index = torch.randint(33_000, (batch,), generator=generator)
        value = torch.rand(batch, generator=generator, dtype=dtype)
        UPDATE[kind](tree, index.to(device), value.to(device))
        for leaf, number in zip(index.tolist(), value.tolist(), strict=True):
            leaves[leaf] = number
    expected = NEW[kind](33_000, dtype=dtype)
    tree_update_torch(expected, torch.arange(33_024), torch.tensor(leaves, dtype=dtype), kind)
    assert torch.equal(tree.cpu(), expected)


def test_hand_computed(device: torch.device) -> None:
    """Three leaves under two parents give their sums at the parents and at the root."""
    tree = rl_cuda.new_sum_tree(40, device=device)
    index = torch.tensor([0, 31, 32], device=device)
    rl_cuda.sum_tree_update(tree, index, torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64, device=device))
    assert tree.numel() == 64 + 32 + 1
    assert tree[64:66].tolist() == [3.0, 4.0]
    assert tree[-1].item() == 7.0


@pytest.mark.parametrize("batch", [60, 2_000, 10_000])
def test_last_of_repeated_leaves_wins(device_in_any_order: torch.device, batch: int) -> None:
    """Of many values for one leaf the last one is kept, whatever the order in which the device works."""
    device = device_in_any_order
    tree = rl_cuda.new_sum_tree(100, dtype=torch.float32, device=device)
    index = torch.full((batch,), 7, device=device)
    rl_cuda.sum_tree_update(tree, index, torch.arange(batch, dtype=torch.float32, device=device))
    assert tree[7].item() == batch - 1
    assert tree[-1].item() == batch - 1


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


def test_a_tree_never_requires_a_gradient(device: torch.device) -> None:
    """Values that come from a loss leave no graph behind in the tree."""
    tree = rl_cuda.new_sum_tree(64, device=device)
    value = torch.ones(2, dtype=torch.float64, device=device, requires_grad=True)
    rl_cuda.sum_tree_update(tree, torch.tensor([0, 1], device=device), value * 2)
    assert not tree.requires_grad
    assert tree[-1].item() == 4.0


@pytest.mark.parametrize("index", [[0, -1, 5, 64, 0], [-1, 1 << 40], [64], [63, 64, 2**31]], ids=str)
@pytest.mark.parametrize("repeat", [1, 100, 2_000])
def test_without_the_check_entries_out_of_range_are_left_out(
    device: torch.device, index: list[int], repeat: int
) -> None:
    """Unchecked, an index below zero or past the last leaf changes nothing, and the other entries count as ever."""
    tree = rl_cuda.new_sum_tree(40, device=device)
    where = torch.tensor(index * repeat, device=device)
    value = torch.arange(1.0, where.numel() + 1, dtype=torch.float64, device=device)
    rl_cuda.sum_tree_update(tree, where, value, check_index=False)
    pairs = [(i, v) for i, v in zip(where.tolist(), value.tolist(), strict=True) if 0 <= i < 64]
    expected = slow_update("sum", [0.0] * 97, 40, [i for i, _ in pairs], [v for _, v in pairs])
    assert tree.tolist() == expected


@pytest.mark.parametrize("kind", KINDS)
def test_rebuild_gives_the_tree_of_the_leaves(device: torch.device, kind: Kind) -> None:
    """Leaves written directly and a rebuild give the tree that an update with these leaves gives."""
    leaves = torch.rand(2_000, dtype=torch.float64, device=device)
    tree, expected = (NEW[kind](2_000, device=device) for _ in range(2))
    tree[:2_000] = leaves
    rl_cuda.tree_rebuild(tree, kind)
    UPDATE[kind](expected, torch.arange(2_000, device=device), leaves)
    assert torch.equal(tree, expected)


def sparse_tree(capacity: int) -> Tensor:
    """A float32 sum tree whose memory is taken where it is written only."""
    numel = rl_cuda.tree_numel(capacity)
    no_reserve = 0x4000  # MAP_NORESERVE of Linux, which Python does not name
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve
    return torch.frombuffer(mmap.mmap(-1, 4 * numel, flags=flags), dtype=torch.float32)


def test_two_to_the_31_leaves(device: torch.device) -> None:
    """At the largest capacity leaves at both ends are set, summed, found and sampled."""
    if device.type == "cuda":
        tree = rl_cuda.new_sum_tree(2**31, dtype=torch.float32, device=device)
    else:
        tree = sparse_tree(2**31)
    index = torch.tensor([0, 2**30, 2**31 - 33, 2**31 - 1], device=device)
    rl_cuda.sum_tree_update(tree, index, torch.tensor([1.0, 2.0, 4.0, 8.0], device=device))
    assert tree[-1].item() == 15.0
    prefix = torch.tensor([0.0, 1.0, 3.0, 6.9, 7.0, 15.0], dtype=torch.float64, device=device)
    assert rl_cuda.sum_tree_find(tree, prefix).tolist() == [0, 2**30, *[2**31 - 33] * 2, *[2**31 - 1] * 2]


@pytest.mark.parametrize("batch", [64, 65, 2_049])
def test_batches_of_all_sizes_at_two_to_the_31_leaves(device: torch.device, batch: int) -> None:
    """Whichever way a batch goes, with entries of one leaf at both ends of the largest tree the last of them count."""
    if device.type == "cuda":
        tree = rl_cuda.new_sum_tree(2**31, dtype=torch.float32, device=device)
    else:
        tree = sparse_tree(2**31)
    index = torch.arange(batch, device=device) % 40
    index = torch.where(index < 20, index, 2**31 - 1 - index)
    rl_cuda.sum_tree_update(tree, index, torch.arange(1.0, batch + 1, device=device))
    expected = dict(zip(index.tolist(), range(1, batch + 1), strict=True))
    assert tree[list(expected)].tolist() == list(expected.values())
    assert tree[-1].item() == sum(expected.values())
    prefix = torch.tensor([0.0, sum(expected.values())], dtype=torch.float64, device=device)
    assert rl_cuda.sum_tree_find(tree, prefix).tolist() == [0, 2**31 - 21]


def test_runs_inside_a_compiled_function(device: torch.device) -> None:
    """A function that updates a tree compiles as one graph and gives the same bits."""

    def update(tree: Tensor, index: Tensor, value: Tensor) -> Tensor:
        rl_cuda.sum_tree_update(tree, index, value * 2, check_index=False)
        return tree[-1] + 1

    index = torch.tensor([3, 40, 3], device=device)
    value = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, device=device)
    tree = rl_cuda.new_sum_tree(64, device=device)
    compiled: Any = torch.compile(update, backend="aot_eager", fullgraph=True)
    assert compiled(tree, index, value).item() == 11.0
    expected = rl_cuda.new_sum_tree(64, device=device)
    update(expected, index, value)
    assert torch.equal(tree, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_operators_are_registered_correctly(device: torch.device, kind: Kind) -> None:
    """Schema, fake implementation and tracing of the operators agree with what they do."""
    tree = NEW[kind](40, device=device)
    index = torch.tensor([0, 39, 0], device=device)
    value = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, device=device)
    torch.library.opcheck(torch.ops.rl_cuda.tree_update.default, (tree, index, value, kind, False))
    torch.library.opcheck(torch.ops.rl_cuda.tree_rebuild.default, (tree, kind))


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
def test_bad_input_is_named(change: dict[str, Tensor], error: type[Exception], text: str) -> None:
    """Each kind of wrong input raises its error, which says which tensor is wrong, how, and what was expected."""
    good = {
        "tree": rl_cuda.new_sum_tree(40),
        "index": torch.tensor([0, 1]),
        "value": torch.tensor([1.0, 2.0], dtype=torch.float64),
    }
    tensors = good | change
    with pytest.raises(error, match=text):
        rl_cuda.sum_tree_update(tensors["tree"], tensors["index"], tensors["value"])


def test_unknown_kind_is_an_error() -> None:
    """A kind of tree that does not exist is named, with those that do."""
    kind: Any = "median"
    with pytest.raises(ValueError, match="'sum', 'min' or 'max', found 'median'"):
        rl_cuda.tree_rebuild(rl_cuda.new_sum_tree(40), kind)


def test_bad_input_leaves_the_tree_alone(device: torch.device) -> None:
    """An index out of range is found before anything is written."""
    tree = rl_cuda.new_sum_tree(40, device=device)
    with pytest.raises(IndexError):
        rl_cuda.sum_tree_update(
            tree, torch.tensor([0, 64], device=device), torch.ones(2, dtype=torch.float64, device=device)
        )
    assert not tree.any()
