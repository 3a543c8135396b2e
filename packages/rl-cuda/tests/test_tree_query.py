"""Walks down a sum tree: against brute force, at the edges, with zeros, and the distribution of samples."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import rl_cuda
from rl_specs import DTypeError, ShapeError

lax = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tree_of(leaves: list[float], device: torch.device, dtype: torch.dtype = torch.float64) -> Tensor:
    """A sum tree with these leaves."""
    tree = rl_cuda.new_sum_tree(len(leaves), dtype=dtype, device=device)
    tree[: len(leaves)] = torch.tensor(leaves, dtype=dtype, device=device)
    rl_cuda.tree_rebuild(tree, "sum")
    return tree


def doubles(numbers: list[float], device: torch.device) -> Tensor:
    """`[N]` float64."""
    return torch.tensor(numbers, dtype=torch.float64, device=device)


@given(
    leaves=st.lists(st.integers(0, 5), min_size=1, max_size=1100).filter(any),
    fractions=st.lists(st.floats(-0.1, 1.1), min_size=1, max_size=20),
)
@lax
def test_finds_what_a_running_sum_finds(device: torch.device, leaves: list[int], fractions: list[float]) -> None:
    """With integers, whose sums are exact, the leaf is the first with which the running sum exceeds the prefix, or zero
    where the prefix is below that.
    """
    tree = tree_of([float(leaf) for leaf in leaves], device)
    total = sum(leaves)
    upto = torch.tensor(leaves).cumsum(0)
    last = max(i for i, leaf in enumerate(leaves) if leaf)
    prefixes = [float(int(fraction * total)) for fraction in fractions]
    expected = [int((upto > max(prefix, 0)).nonzero()[0]) if prefix < total else last for prefix in prefixes]
    assert rl_cuda.sum_tree_find(tree, doubles(prefixes, device)).tolist() == expected


@given(
    leaves=st.lists(st.one_of(st.just(0.0), st.floats(1e-30, 1e30)), min_size=1, max_size=200).filter(any),
    fractions=st.lists(st.floats(0, 1), min_size=1, max_size=20),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@lax
def test_never_a_leaf_of_zero_and_never_past_the_end(
    device: torch.device, leaves: list[float], fractions: list[float], dtype: torch.dtype
) -> None:
    """Whatever rounding does, also at the prefix that equals the sum, a stored positive leaf is found."""
    tree = tree_of(leaves, device, dtype)
    total = tree[-1].double()
    prefix = torch.cat((doubles(fractions, device) * total, total[None], torch.nextafter(total, total + 1)[None]))
    index = rl_cuda.sum_tree_find(tree, prefix)
    assert bool((index >= 0).all())
    assert bool((index < len(leaves)).all())
    assert bool((tree[index] > 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_device_finds_the_same_leaves(device: torch.device, dtype: torch.dtype) -> None:
    """With priorities of very different size, every device finds the leaves that plain torch on the CPU finds."""
    generator = torch.Generator().manual_seed(0)
    leaves = torch.rand(40_000, generator=generator).pow(6) * (torch.rand(40_000, generator=generator) > 0.3)
    tree = tree_of(leaves.tolist(), device, dtype)
    prefix = torch.rand(5_000, dtype=torch.float64, generator=generator) * tree[-1].item()
    expected = torch.ops.rl_cuda.sum_tree_find.default._op_dk(
        torch._C.DispatchKey.CompositeExplicitAutograd, tree.cpu(), prefix
    )
    found = rl_cuda.sum_tree_find(tree, prefix.to(device))
    assert torch.equal(found.cpu(), expected)


def test_single_leaf_and_last_leaf(device: torch.device) -> None:
    """A tree of one leaf finds it; where only the very last leaf is positive, every prefix finds that one."""
    assert rl_cuda.sum_tree_find(tree_of([2.0], device), doubles([0.0, 1.9, 2.0, 9.0], device)).tolist() == [0] * 4
    tree = tree_of([0.0] * 1055 + [0.1], device)
    assert rl_cuda.sum_tree_find(tree, doubles([0.0, 0.05, 0.1], device)).tolist() == [1055] * 3


def test_a_tree_of_zeros_finds_nothing(device: torch.device) -> None:
    """Without any priority there is no leaf to find: the answer is -1, and a sample's weight is NaN."""
    tree = rl_cuda.new_sum_tree(100, device=device)
    assert rl_cuda.sum_tree_find(tree, doubles([0.0, 1.0], device)).tolist() == [-1, -1]
    one = doubles([1.0], device)[0]
    index, weight = rl_cuda.sum_tree_sample(tree, doubles([0.5], device), reference=one, beta=one)
    assert index.tolist() == [-1]
    assert bool(weight.isnan().all())


def test_no_queries_no_answers(device: torch.device) -> None:
    """Nothing asked, nothing found."""
    assert rl_cuda.sum_tree_find(tree_of([1.0], device), doubles([], device)).tolist() == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_hand_computed_sample(device: torch.device, dtype: torch.dtype) -> None:
    """Four strata of a sum of 8: the middle of each finds its leaf; weights are (p / smallest) ** -beta."""
    tree = tree_of([1.0, 0.0, 4.0, 3.0], device, dtype)
    reference, beta = torch.ones((), dtype=dtype, device=device), doubles([0.5], device)[0]
    uniform = doubles([0.25, 0.5, 0.999, 0.0], device)  # prefixes 0.5, 3, 5.998, 6
    index, weight = rl_cuda.sum_tree_sample(tree, uniform, reference=reference, beta=beta)
    assert index.tolist() == [0, 2, 3, 3]
    assert weight.dtype == dtype
    torch.testing.assert_close(weight.double().cpu(), torch.tensor([1, 0.5, 3**-0.5, 3**-0.5], dtype=torch.float64))


def test_samples_follow_the_priorities(device: torch.device) -> None:
    """Over many batches, each leaf is drawn as often as its share of the sum says (chi-square, 99 degrees)."""
    generator = torch.Generator().manual_seed(1)
    leaves = torch.rand(100, generator=generator, dtype=torch.float64) ** 2
    tree = tree_of(leaves.tolist(), device)
    one = doubles([1.0], device)[0]
    counts = torch.zeros(100, dtype=torch.int64)
    for _ in range(50):
        uniform = torch.rand(64, dtype=torch.float64, generator=generator).to(device)
        index, _ = rl_cuda.sum_tree_sample(tree, uniform, reference=one, beta=one)
        counts += torch.bincount(index.cpu(), minlength=100)
    expected = leaves / leaves.sum() * 50 * 64
    assert float(((counts - expected) ** 2 / expected).sum()) < 148.2  # 99.9% quantile


def test_works_in_a_compiled_function(device: torch.device) -> None:
    """Finding and sampling compile as one graph and give what they give uncompiled."""
    tree = tree_of([1.0, 2.0, 3.0, 0.0, 4.0], device)

    def draw(uniform: Tensor, beta: Tensor) -> tuple[Tensor, ...]:
        index, weight = rl_cuda.sum_tree_sample(tree, uniform, reference=tree[-1] / 5, beta=beta)
        return index, weight, rl_cuda.sum_tree_find(tree, uniform * tree[-1])

    arguments = doubles([0.1, 0.9, 0.3], device), doubles([0.4], device)[0]
    compiled: Any = torch.compile(draw, backend="aot_eager", fullgraph=True)
    for found, expected in zip(compiled(*arguments), draw(*arguments), strict=True):
        assert torch.equal(found, expected)


def test_operators_are_registered_correctly(device: torch.device) -> None:
    """Schema, fake implementation and tracing of the operators agree with what they do."""
    tree = tree_of([1.0, 2.0, 3.0], device)
    uniform, one = doubles([0.1, 0.9], device), doubles([1.0], device)[0]
    torch.library.opcheck(torch.ops.rl_cuda.sum_tree_find.default, (tree, uniform))
    for empty in (None, torch.zeros((), dtype=torch.int64, device=device)):
        torch.library.opcheck(torch.ops.rl_cuda.sum_tree_sample.default, (tree, uniform, one, one, empty))


def test_bad_input_is_named() -> None:
    """Another dtype or shape than stated is an error that says which tensor it is."""
    tree, one = rl_cuda.new_sum_tree(5), torch.ones((), dtype=torch.float64)
    with pytest.raises(DTypeError, match=r"sum_tree_find: prefix has a wrong dtype.*float64.*float32"):
        rl_cuda.sum_tree_find(tree, torch.zeros(3))
    with pytest.raises(ShapeError, match=r"sum_tree_sample: uniform has a wrong shape"):
        rl_cuda.sum_tree_sample(tree, one, reference=one, beta=one)
    with pytest.raises(ShapeError, match=r"sum_tree_sample: beta has a wrong shape.*\[\].*\[1\]"):
        rl_cuda.sum_tree_sample(tree, one[None], reference=one, beta=one[None])
    with pytest.raises(DTypeError, match=r"reference has a wrong dtype"):
        rl_cuda.sum_tree_sample(tree, one[None], reference=one.float(), beta=one)
