"""Sums of groups of numbers, and draws in proportion to them."""

from math import fsum, inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import rl_buffers._sum_tree as sum_tree
from rl_buffers._sum_tree import SumTree

VALUES = st.one_of(st.just(0.0), st.floats(1e-9, 1e9))


def _same_sums(one: SumTree, other: SumTree) -> bool:
    return one.total == other.total and all(
        np.array_equal(here, there) for here, there in zip(one._sums, other._sums, strict=True)
    )


def test_hand_computed_places() -> None:
    """Of leaves 2, 0, 3, 5 the running sums 2, 2, 5, 10 are first exceeded at 0, 2 or 3, never at the leaf of 0."""
    tree = SumTree(4)
    tree.set(np.array([3, 0, 2]), np.array([5.0, 2.0, 3.0]))
    assert (tree.total, tree.largest(), tree.largest_place(), tree.smallest()) == (10.0, 5.0, 3, 2.0)
    targets = np.array([0.0, 1.999, 2.0, 4.999, 5.0, 9.999, 10.0])
    assert tree.find(targets).tolist() == [0, 0, 2, 2, 3, 3, 3]
    assert list(tree) == [2.0, 0.0, 3.0, 5.0]
    assert (len(tree), tree[2]) == (4, 3.0)


def test_the_last_of_two_values_for_one_leaf_holds() -> None:
    """In one `set` a later value of the same leaf replaces an earlier one, extremes included."""
    tree = SumTree(3)
    tree.set(np.array([1, 1, 0]), np.array([9.0, 4.0, 5.0]))
    assert (tree.total, tree.largest(), tree.smallest()) == (9.0, 5.0, 4.0)
    tree.set(np.array([0, 0]), np.array([0.5, 6.0]))
    assert (tree.total, tree.largest(), tree.smallest()) == (10.0, 6.0, 4.0)


def test_an_empty_tree() -> None:
    """Without positive leaves the sum is 0 and there are no extremes."""
    tree = SumTree(70)
    tree.fill(3, 40, 1.0)
    tree.clear()
    assert (tree.total, tree.largest(), tree.largest_place(), tree.smallest()) == (0.0, 0.0, -1, inf)
    tree.fill(5, 5, 3.0)
    tree.set(np.empty(0, dtype=np.int64), np.empty(0))
    assert tree.total == 0.0


@given(data=st.data(), capacity=st.sampled_from([1, 31, 32, 33, 100, 1100, 5000]))
@settings(max_examples=80, deadline=None)
def test_any_writes_agree_with_a_plain_array(data: Any, capacity: int) -> None:
    """After any writes: sums, extremes and places found are those of an array, in trees of one, two or three levels."""
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(sum_tree, "_LARGEST_TOP", data.draw(st.sampled_from([1, 4, 1 << 15])))
    tree = SumTree(capacity)
    monkeypatch.undo()
    model: NDArray[np.float64] = np.zeros(capacity)
    for _ in range(data.draw(st.integers(1, 12))):
        if data.draw(st.booleans()):
            start, stop = sorted(data.draw(st.tuples(st.integers(0, capacity), st.integers(0, capacity))))
            value = data.draw(VALUES)
            tree.fill(start, stop, value)
            model[start:stop] = value
        else:
            places = data.draw(hnp.arrays(np.int64, st.integers(0, 9), elements=st.integers(0, capacity - 1)))
            values = data.draw(hnp.arrays(np.float64, len(places), elements=VALUES))
            tree.set(places, values)
            model[places] = values
        if data.draw(st.booleans()):
            assert tree.total == pytest.approx(model.sum(), rel=1e-13)
            assert tree.largest() == model.max()
            assert tree.smallest() == min(model[model > 0.0], default=inf)
    assert np.array_equal(tree.leaves, model)
    if tree.total > 0.0:
        ends = model.cumsum()
        targets = np.array([0.0, *data.draw(st.lists(st.floats(0.0, 1.0), max_size=9)), 1.0]) * tree.total
        found = tree.find(targets)
        assert (model[found] > 0.0).all()
        slack = 1e-12 * ends[-1]
        assert (ends[found] >= targets - slack).all()
        assert (ends[found] - model[found] <= targets + slack).all()


@given(st.integers(1, 3000), st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_sums_depend_on_the_leaves_alone(capacity: int, seed: int) -> None:
    """A tree that took many writes to its leaves has the bits of one that was given them at once."""
    random = np.random.default_rng(seed)
    tree, fresh = SumTree(capacity), SumTree(capacity)
    for _ in range(30):
        places = random.integers(0, capacity, random.integers(1, 60))
        tree.set(places, random.exponential(size=len(places)))
        start, stop = sorted(random.integers(0, capacity + 1, 2).tolist())
        tree.fill(start, min(stop, start + 40), float(random.random()))
        if random.random() < 0.5:
            assert tree.total >= 0.0
    fresh.load(tree.leaves.copy())
    assert _same_sums(tree, fresh)
    assert (tree.largest(), tree.smallest()) == (fresh.largest(), fresh.smallest())


def _drift(updates: int, capacity: int) -> float:
    """Relative distance of the root from the exact sum after random updates over 18 orders of magnitude."""
    random = np.random.default_rng(0)
    tree = SumTree(capacity)
    batch = 1000
    for _ in range(updates // batch):
        tree.set(random.integers(0, capacity, batch), 10.0 ** random.uniform(-9.0, 9.0, batch))
        assert tree.total > 0.0
    exact = fsum(tree.leaves.tolist())
    return abs(tree.total - exact) / exact


def test_no_drift() -> None:
    """After 200,000 updates of values from 1e-9 to 1e9 the root is the sum of the leaves to 1e-12."""
    assert _drift(200_000, 50_000) < 1e-12


@pytest.mark.slow
def test_no_drift_after_ten_million_updates() -> None:
    """After 10 million updates of a million leaves the root is the sum of the leaves to 1e-9."""
    assert _drift(10_000_000, 1_000_000) < 1e-9


@given(hnp.arrays(np.float64, st.integers(1, 80), elements=VALUES), st.floats(0.0, 1.0))
@settings(max_examples=100, deadline=None)
def test_rounding_edges_find_positive_leaves(leaves: NDArray[np.float64], share: float) -> None:
    """Targets at running sums, one rounding below and above them, and at the total find leaves above 0 within reach."""
    tree = SumTree(len(leaves))
    tree.set(np.arange(len(leaves)), leaves)
    if tree.total == 0.0:
        return
    ends = leaves.cumsum()
    targets = np.concatenate([ends, np.nextafter(ends, 0.0), np.nextafter(ends, inf), [0.0, share * tree.total]])
    found = tree.find(np.minimum(targets, tree.total))
    assert (leaves[found] > 0.0).all()
    assert found[np.argsort(targets, kind="stable")].tolist() == sorted(found.tolist())


def test_what_is_left_of_a_target_rounds_up_to_the_sum_of_a_group() -> None:
    """A target below the running sum, whose rest within its group rounds to the group's sum, finds a leaf above 0."""
    unit = 2.0**-52
    tree = SumTree(64)
    tree.set(np.array([0, 40]), np.array([1.5 * unit, 1.0 + 2.0 * unit]))
    assert tree.find(np.array([1.0 + 3.0 * unit])).tolist() == [40]
