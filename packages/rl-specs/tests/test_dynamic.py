"""Open sizes: specs of tensors that are of any size along some dimensions, -1 in the shape."""

import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tensordict import LazyStackedTensorDict, TensorDict

from rl_specs import (
    Binary,
    Bounded,
    Categorical,
    Choice,
    Composite,
    LeafSpec,
    MultiCategorical,
    MultiOneHot,
    OneHot,
    ShapeError,
    SpecError,
    Stacked,
    StackedComposite,
    Unbounded,
    explain_difference,
    from_json,
    stack_specs,
    to_json,
)

KINDS: list[Callable[[tuple[int, ...]], LeafSpec]] = [
    lambda size: Unbounded((*size, 2)),
    lambda size: Unbounded(size, dtype=torch.int32),
    lambda size: Bounded([-1.0, 0.0], [1.0, 5.0], (*size, 2)),
    lambda size: Bounded(-3, 4, size, dtype=torch.int64),
    lambda size: Categorical(4, size),
    lambda size: Categorical(3, size, mask=torch.tensor([True, False, True])),
    lambda size: OneHot(3, (*size, 3), mask=torch.tensor([True, False, True])),
    lambda size: MultiCategorical([2, 3], (*size, 2)),
    lambda size: MultiCategorical([2, 3], (*size, 2), mask=torch.tensor([True, False, True, True, False])),
    lambda size: MultiOneHot([2, 3], (*size, 5)),
    lambda size: Binary(shape=size),
]
quick = settings(max_examples=30, deadline=None, phases=[Phase.reuse, Phase.generate, Phase.shrink])
fronts = st.lists(st.integers(1, 3), max_size=2).map(tuple)
behinds = st.lists(st.sampled_from([-1, 2]), max_size=2).map(lambda rest: (-1, *rest))
Drawn = tuple[LeafSpec, tuple[int, ...], list[int]]


@st.composite
def dynamic(draw: st.DrawFn) -> Drawn:
    """A spec with open sizes, the dimensions in front of them, and sizes to set."""
    front, behind = draw(fronts), draw(behinds)
    sizes = [draw(st.integers(0, 3)) for size in behind if size == -1]
    return draw(st.sampled_from(KINDS))((*front, *behind)), front, sizes


@quick
@given(dynamic())
def test_values_of_any_size_are_in(drawn: Drawn) -> None:
    """Samples of every size, with a batch in front, are members; they project onto themselves."""
    spec, front, sizes = drawn
    assert spec.is_dynamic
    closed = spec.sized(*sizes)
    assert not closed.is_dynamic
    sample = closed.rand(2)
    assert spec.is_in(sample), (spec, sample)
    assert not spec._differences(sample, None, None)
    assert torch.equal(spec.project(sample), sample)
    assert spec.is_in(spec.encode(closed.to_numpy(sample)))
    if front:
        assert not spec.is_in(sample.new_zeros((2, front[0] + 1, *sample.shape[2:])))


@quick
@given(dynamic())
def test_a_value_needs_sizes(drawn: Drawn) -> None:
    """`rand`, `numel` and `enumerate` refuse; zeros and ones are of size 1 where it is open."""
    spec, _, sizes = drawn
    for refused in (spec.rand, spec.numel, spec.enumerate):
        with pytest.raises((ShapeError, SpecError)):
            refused()
    expected = torch.Size([1 if size == -1 else size for size in spec.shape])
    assert spec.zero(2).shape == (2, *expected)
    assert spec.one().shape == expected
    with pytest.raises(ShapeError, match="sizes given"):
        spec.sized(*sizes, 1)


@quick
@given(dynamic())
def test_copies_are_equal(drawn: Drawn) -> None:
    """Clone, pickle, JSON and another device give equal specs; closed ones differ and say in what."""
    spec, _, sizes = drawn
    for other in (spec.clone(), pickle.loads(pickle.dumps(spec)), from_json(to_json(spec)), spec.to("cpu")):
        assert other == spec
        assert hash(other) == hash(spec)
        assert repr(other) == repr(spec)
    assert "shape" in explain_difference(spec, spec.sized(*sizes))


@quick
@given(st.data(), dynamic())
def test_operations_in_front_commute_with_samples(data: st.DataObject, drawn: Drawn) -> None:
    """A shape operation on the dimensions in front of the open ones is that on samples; others are refused."""
    spec, front, sizes = drawn
    k = len(front)
    ops: list[Callable[[Any], Any]] = [
        lambda x: x[None],
        lambda x: x.unsqueeze(k),
        lambda x: x.expand(2, *x.shape),
        lambda x: torch.stack([x, x], k),
        lambda x: x.permute(*range(x.ndim)),
    ]
    if k:
        ops += [
            lambda x: x[0],
            lambda x: x[:, None],
            lambda x: x.flatten(0, k - 1),
            lambda x: x.transpose(0, k - 1),
            lambda x: x.unbind(0)[-1],
            lambda x: x[torch.tensor([0, 0])],
            lambda x: torch.cat([x, x], 0),
        ]
    op = data.draw(st.sampled_from(ops))
    closed, moved = spec.sized(*sizes), op(spec)
    sample = op(closed.rand())
    assert moved.is_in(sample)
    assert moved.sized(*sizes) == op(closed)
    impossible: list[Callable[[Any], Any]] = [
        lambda x: x.flatten(),
        lambda x: x[(*[0] * k, 0)],
        lambda x: x.transpose(0, -1),
    ]
    for refused in impossible:
        with pytest.raises(ShapeError):
            refused(spec)


def test_opening_a_dimension() -> None:
    """`make_neg_dim` opens a size; bounds that differ along it are refused."""
    assert Unbounded((3, 4, 2)).make_neg_dim(1) == Unbounded((3, -1, 2))
    assert Unbounded((3, 4, 2)).make_neg_dim(-1).make_neg_dim(1) == Unbounded((3, -1, -1))
    assert Bounded(0, 1, (3, 4)).make_neg_dim(1).sized(4) == Bounded(0, 1, (3, 4))
    assert Categorical(3, (4,)).make_neg_dim(0) == Categorical(3, (-1,))
    with pytest.raises(SpecError, match="places along dimension 0 differ"):
        Bounded([0.0, 1.0], 2.0).make_neg_dim(0)
    with pytest.raises(ShapeError, match="sizes of at least 0, or -1 for any"):
        Unbounded((3, -2))


def test_masks_of_the_size_of_the_data() -> None:
    """A mask may be of the size that the next values have, and then speaks of these."""
    spec = Categorical(3, (-1,))
    spec.update_mask(torch.tensor([[True, False, False], [True, True, False]]))
    assert spec.is_in(torch.tensor([0, 1]))
    assert not spec.is_in(torch.tensor([1, 1]))
    assert spec.sized(2).rand().tolist()[0] == 0
    assert from_json(to_json(spec)) == spec


def test_cardinality_is_infinite() -> None:
    """Tensors of integers of any size cannot be counted; categories are counted by themselves."""
    assert Bounded(0, 1, (-1,), dtype=torch.int64).cardinality() == math.inf
    assert Unbounded((-1,), dtype=torch.int8).cardinality() == math.inf
    assert Binary(shape=(-1,)).cardinality() == math.inf
    assert Categorical(3, (-1,)).cardinality() == 3


def test_entries_with_open_sizes() -> None:
    """A Composite holds them behind its batch, moves them with it, and refuses a batch of any size."""
    spec = Composite(points=Unbounded((4, -1, 2)), n={"x": Categorical(3, (4, -1))}, shape=(4,))
    assert spec.is_dynamic
    assert not Composite(x=Unbounded((4,))).is_dynamic
    data = TensorDict({"points": torch.zeros(5, 4, 7, 2), "n": {"x": torch.zeros(5, 4, 1, dtype=torch.int64)}}, [5, 4])
    assert spec.is_in(data)
    assert not spec.is_in(data.clone().set("points", torch.zeros(5, 4, 7, 3)))
    assert spec[0].is_in(data[:, 0])
    assert spec.expand(5, 4).is_in(data)
    assert spec.zero()["points"].shape == (4, 1, 2)
    assert from_json(to_json(spec)) == spec
    with pytest.raises(ShapeError, match="batch sizes are known"):
        Composite(shape=(-1,))
    with pytest.raises(ShapeError, match="values are of any size"):
        spec.rand()


def test_stacks_of_open_sizes() -> None:
    """Equal ones stack to one spec in front of the open sizes, not behind; others to a stack of both."""
    one, other = Unbounded((3, -1)), Unbounded((3, 4))
    assert stack_specs([one, one], 1) == Unbounded((3, 2, -1))
    with pytest.raises(ShapeError):
        stack_specs([one, one], 2)
    with pytest.raises(ShapeError):
        torch.cat([one, one], 1)  # type: ignore[list-item]  # specs go together too
    both = stack_specs([one, other])
    assert both == Stacked(one, other, dim=0)
    assert both.is_dynamic
    assert both.is_in([torch.zeros(3, 9), torch.zeros(3, 4)])
    assert both.is_in(torch.zeros(2, 3, 4))
    assert not both.is_in([torch.zeros(3, 9), torch.zeros(3, 5)])
    whole = StackedComposite(Composite(x=Unbounded((-1,))), Composite(x=Unbounded((2,)), y=Unbounded(())), dim=0)
    parts = [TensorDict({"x": torch.zeros(6)}), TensorDict({"x": torch.zeros(2), "y": torch.zeros(())})]
    assert whole.is_in(LazyStackedTensorDict(*parts, stack_dim=0))
    with pytest.raises(SpecError, match="different shapes"):
        Choice([one, one])
