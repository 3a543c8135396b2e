"""Properties of every kind of spec, nested ones and stacks included, on specs drawn at random."""

import copy
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from tensordict import LazyStackedTensorDict, NonTensorData, NonTensorStack, is_tensor_collection
from torch import Size, Tensor

from rl_specs import (
    Binary,
    Bounded,
    Categorical,
    Choice,
    Composite,
    LeafSpec,
    MultiCategorical,
    MultiOneHot,
    NonTensor,
    OneHot,
    Stacked,
    StackedComposite,
    TensorSpec,
    Unbounded,
    explain_difference,
    from_json,
    stack_specs,
    to_json,
)

quick = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.reuse, Phase.generate, Phase.shrink],  # not the one that traces each line, which takes minutes
)
batches = st.lists(st.integers(1, 4), max_size=3).map(tuple)
some_batches = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
Batch = tuple[int, ...]
Op = Callable[[Any], Any]


def random_mask(batch: Batch, blocks: list[int], seed: int | None) -> Tensor | None:
    """A mask `[*batch, sum(blocks)]` that leaves a category in each block; None without a seed."""
    if seed is None:
        return None
    generator = torch.Generator().manual_seed(seed)
    masks = []
    for n in blocks:
        kept = torch.randint(0, n, (*batch, 1), generator=generator)
        masks.append((torch.rand(*batch, n, generator=generator) < 0.4) | (torch.arange(n) == kept))
    return torch.cat(masks, -1)


def bounds_by_place(batch: Batch) -> Bounded:
    """Numbers that differ from place to place, so that a sample tells where it is from."""
    low = torch.arange(float(Size(batch).numel())).reshape(batch)
    return Bounded(low, low + 0.5, batch)


@st.composite
def leaves(draw: st.DrawFn, batch: Batch) -> LeafSpec:
    """A spec of one tensor whose shape starts with `batch`."""
    n = draw(st.integers(2, 5))
    nvec = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    low = draw(st.floats(-1e6, 1e6, width=32))
    high = draw(st.floats(low, 1e6, width=32)) if draw(st.booleans()) else float("inf")
    seed = draw(st.one_of(st.none(), st.integers(0, 2**31)))
    number = draw(st.sampled_from([torch.float16, torch.float32, torch.float64, torch.int32, torch.int64]))
    kinds: list[Callable[[], LeafSpec]] = [
        lambda: Bounded(low, high, batch, dtype=torch.float32),
        lambda: bounds_by_place(batch),
        lambda: Bounded(-n, n * 7, (*batch, n), dtype=number),
        lambda: Unbounded(batch, dtype=number),
        lambda: Categorical(n, batch, dtype=torch.int32, mask=random_mask(batch, [n], seed)),
        lambda: OneHot(n, (*batch, n), dtype=number, mask=random_mask(batch, [n], seed)),
        lambda: MultiCategorical(nvec, (*batch, len(nvec)), mask=random_mask(batch, nvec, seed)),
        lambda: MultiOneHot(nvec, (*batch, sum(nvec)), mask=random_mask(batch, nvec, seed)),
        lambda: Binary(n, (*batch, n)),
    ]
    return draw(st.sampled_from(kinds))()


@st.composite
def choices(draw: st.DrawFn, batch: Batch) -> Choice:
    """A choice whose places are those of `batch`, or one choice for all of `batch`."""
    n, is_by_place = draw(st.integers(2, 5)), draw(st.booleans())
    size = () if is_by_place else batch
    kinds: list[Callable[[], list[Any]]] = [
        lambda: [Categorical(n, size), Categorical(n + 2, size)],
        lambda: [Bounded(low, low + 1, (*size, 3)) for low in (0.0, 5.0, -7.0)],
        lambda: [OneHot(n, (*size, n), mask=random_mask(size, [n], seed)) for seed in (n, n + 1)],
        lambda: [Composite(a=Categorical(k, size), n={"b": Bounded(k, k + 1, size)}, shape=size) for k in (1, n)],
        lambda: [NonTensor(size, example_data=text) for text in "ab"],
    ]
    spec = Choice(draw(st.sampled_from(kinds))())
    return spec.expand(*batch, *spec.shape) if is_by_place else spec


@st.composite
def stacks(draw: st.DrawFn, batch: Batch, ragged: bool) -> TensorSpec:
    """Different specs stacked along a dimension of `batch`."""
    dim = draw(st.sampled_from([d for d, size in enumerate(batch) if size > 1]))
    rest = (*batch[:dim], *batch[dim + 1 :])
    n = draw(st.integers(1, 3))
    kinds: list[Callable[[int], TensorSpec]] = [
        lambda i: Categorical(n + i, rest),
        lambda i: Composite(
            {"x": Bounded(0, i + 1, (*rest, n)), ("n", "y"): OneHot(n + i, (*rest, n + i)), f"z{i}": Unbounded(rest)},
            shape=rest,
        ),
    ]
    if ragged:
        kinds.append(lambda i: OneHot(n + i, (*rest, 1 + i, n + i)))
    kind = draw(st.sampled_from(kinds))
    parts: list[Any] = [kind(i) for i in range(batch[dim])]
    whole = StackedComposite if isinstance(parts[0], Composite) else Stacked
    return whole(*parts, dim=dim)


@st.composite
def specs(draw: st.DrawFn, batch: Batch, *, depth: int = 2, ragged: bool = False) -> TensorSpec:
    """A spec of any kind whose shape starts with `batch`."""
    kinds = ["leaf", "choice", "non-tensor", "composite"] + (["stack"] if max(batch, default=1) > 1 else [])
    match draw(st.sampled_from(kinds)):
        case "choice":
            return draw(choices(batch))
        case "non-tensor":
            return NonTensor(batch, example_data=draw(st.sampled_from([None, "text", {"a": [1, 2.5]}])))
        case "stack":
            return draw(stacks(batch, ragged))
        case "composite" if depth > 0:
            names = draw(st.lists(st.sampled_from("abc"), unique=True))
            return Composite({name: draw(specs(batch, depth=depth - 1)) for name in names}, shape=batch)
    return draw(leaves(batch))


@st.composite
def batched_specs(draw: st.DrawFn, *, ragged: bool = False) -> tuple[TensorSpec, Batch]:
    """A spec of any kind and the batch shape that it starts with."""
    batch = draw(batches)
    return draw(specs(batch, ragged=ragged)), batch


def is_same(a: Any, b: Any) -> bool:
    """Whether two values are equal, bit by bit."""
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(is_same, a, b))
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, (NonTensorData, NonTensorStack)):
        return bool(a.batch_size == b.batch_size and a.tolist() == b.tolist())
    if isinstance(a, LazyStackedTensorDict):
        return bool(a.batch_size == b.batch_size) and all(map(is_same, a.tensordicts, b.unbind(a.stack_dim)))
    keys = set(a.keys())
    return keys == set(b.keys()) and all(is_same(a.get(key), b.get(key)) for key in keys)


def noise_like(value: Any, scale: float) -> Any:
    """Random numbers in the form of `value`, whatever is allowed."""
    if isinstance(value, list):
        return [noise_like(part, scale) for part in value]
    if isinstance(value, Tensor):
        return torch.randn(value.shape) * scale
    if isinstance(value, (NonTensorData, NonTensorStack)):
        return NonTensorData("noise", batch_size=value.batch_size)
    if isinstance(value, LazyStackedTensorDict):
        parts = [noise_like(part, scale) for part in value.tensordicts]
        return LazyStackedTensorDict(*parts, stack_dim=value.stack_dim)
    out = value.empty()
    for key, entry in value.items():
        out.set(key, noise_like(entry, scale))
    return out


def form(value: Any) -> Any:
    """Shape of a value, shapes of its parts where it is a list."""
    return [form(part) for part in value] if isinstance(value, list) else tuple(value.shape)


@quick
@given(batched_specs(ragged=True), batches)
def test_samples_are_in_the_spec(drawn: tuple[TensorSpec, Batch], lead: Batch) -> None:
    """`rand` has the dimensions asked for in front and is in the spec; with one number of the batch wrong it is not."""
    spec, _ = drawn
    sample = spec.rand(lead)
    assert spec.is_in(sample), spec
    assert not spec._differences(sample, None, None)
    if -1 not in spec.shape:
        assert form(sample) == (*lead, *spec.shape)
        assert sample.numel() == Size(lead).numel() * spec.numel() or is_tensor_collection(sample)


@quick
@given(batched_specs(ragged=True))
def test_samples_come_back_from_numpy(drawn: tuple[TensorSpec, Batch]) -> None:
    """What `to_numpy` makes of a sample, `encode` makes a member of."""
    spec, _ = drawn
    assert spec.is_in(spec.encode(spec.to_numpy(spec.rand())))


@quick
@given(batched_specs(ragged=True))
def test_zeros_and_ones_have_the_form_of_samples(drawn: tuple[TensorSpec, Batch]) -> None:
    """`zero` and `one` differ from a sample in nothing but the numbers."""
    spec, _ = drawn
    for value in (spec.zero(2), spec.one(2)):
        assert form(value) == form(spec.rand(2))
        assert all(difference.aspect == "domain" for difference in spec._differences(value, None, None))


@quick
@given(batched_specs(ragged=True), st.sampled_from([0.1, 10.0, 1e8]))
def test_projection_is_idempotent_and_inside(drawn: tuple[TensorSpec, Batch], scale: float) -> None:
    """Any numbers project into the spec, a second projection changes nothing, members stay as they are."""
    spec, _ = drawn
    member = spec.rand(2)
    assert is_same(spec.project(member), member)
    projected = spec.project(noise_like(member, scale))
    assert spec.is_in(projected)
    assert is_same(spec.project(projected), projected)


@st.composite
def operations(draw: st.DrawFn, batch: Batch) -> Op:
    """A shape operation that leaves dimensions behind those of `batch` alone."""
    k = len(batch)
    new_dim = draw(st.integers(0, k))
    ops: list[Op] = [
        lambda x: x.unsqueeze(new_dim),
        lambda x: x.expand(2, *x.shape),
        lambda x: x[None],
        lambda x: x[(...,)],
        lambda x: x[...],
        lambda x: x.unsqueeze(new_dim).squeeze(new_dim),
    ]
    if k > 0:
        dim = draw(st.integers(0, k - 1))
        at = draw(st.integers(0, batch[dim] - 1))
        mask = torch.tensor(draw(st.lists(st.booleans(), min_size=batch[0], max_size=batch[0])))
        mask[draw(st.integers(0, batch[0] - 1))] = True
        rows = torch.tensor(draw(st.lists(st.integers(0, batch[0] - 1), min_size=1, max_size=4)))
        split = draw(st.sampled_from([n for n in range(1, batch[dim] + 1) if batch[dim] % n == 0]))
        front = (slice(None),) * dim
        order = draw(st.permutations(range(k)))

        def selected(x: Any) -> Any:
            return x[(*front, rows % batch[dim])]  # TensorDict has no index_select

        ops += [
            lambda x: x[(*front, at)],
            lambda x: x[(*front, at - batch[dim])],
            lambda x: x[(*front, slice(at, None))],
            lambda x: x[(*front, slice(None, None, 2))],
            lambda x: x[(*front, None, at)],
            lambda x: x[(0,) * k],
            lambda x: x[rows],
            lambda x: x[rows.tolist()],
            lambda x: x[(*front, torch.tensor([0, 0]))],
            lambda x: x[mask],
            lambda x: x[torch.ones(batch[: dim + 1], dtype=torch.bool)],
            lambda x: x.unbind(dim)[at],
            lambda x: x.flatten(0, dim),
            lambda x: x.flatten(dim, k - 1),
            lambda x: x.squeeze(dim),
            lambda x: x.unflatten(dim, (split, batch[dim] // split)),
            lambda x: x.reshape(-1, *x.shape[k:]),
            lambda x: x.transpose(dim, k - 1),
            lambda x: x.transpose(k - 1, dim - x.ndim),
            lambda x: x.permute(*order, *range(k, x.ndim)),
            lambda x: x.permute((*order, *range(k - x.ndim, 0))),
            lambda x: x.index_select(dim, rows % batch[dim]) if isinstance(x, (Tensor, TensorSpec)) else selected(x),
        ]
    return draw(st.sampled_from(ops))


@st.composite
def rearrangements(draw: st.DrawFn, batch: Batch) -> Op:
    """An operation that picks, repeats or reorders places along the dimensions of `batch`."""
    k = len(batch)
    dim, other = draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))
    size = batch[dim]
    part, shift = draw(st.integers(1, size + 1)), draw(st.integers(-5, 5))
    cut = draw(st.integers(0, size))
    some = draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=k, unique=True))
    times = torch.tensor(draw(st.lists(st.integers(0, 2), min_size=size, max_size=size)))
    seed = draw(st.integers(0, 99))
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(0, size, (*batch[:dim], part, *batch[dim + 1 :]), generator=generator)
    mask = torch.rand(batch, generator=generator) < 0.6
    behind = (slice(None),) * dim
    ops: list[Op] = [
        lambda x: x.split(part, dim)[-1],
        lambda x: x.split([cut, size - cut], dim)[seed % 2],
        lambda x: x.chunk(part, dim)[-1],
        lambda x: x.tensor_split(part, dim)[0],
        lambda x: x.tensor_split([cut], dim)[1],
        lambda x: x.narrow(dim, cut, size - cut),
        lambda x: x.narrow(dim, -size, cut),
        lambda x: x.movedim(dim, other),
        lambda x: x.moveaxis(tuple(some), tuple(reversed(some))),
        lambda x: x.swapaxes(dim, other),
        lambda x: x.swapdims(dim, other),
        lambda x: x.flip(dim),
        lambda x: x.flip(tuple(some)),
        lambda x: x.roll(shift, dim),
        lambda x: x.roll((shift,) * len(some), tuple(some)),
        lambda x: x.roll(shift) if len(x.shape) == k else x.roll(shift, 0),
        lambda x: x.repeat(2, *[1] * dim, 2, *[1] * (len(x.shape) - dim - 1)),
        lambda x: x.repeat_interleave(2, dim),
        lambda x: x.repeat_interleave(times, dim),
        lambda x: x.gather(dim, numbers if x.ndim == k else trailing(numbers, x.shape[k:])),
        lambda x: x[(*behind, slice(None, None, 3))],
        lambda x: x.masked_select(mask) if x.ndim == k else x[mask],
        lambda x: x[(*behind, torch.tensor([[0, -1], [-1, 0]]))],
        lambda x: x[(..., None, *[slice(None)] * (x.ndim - k))],
    ]
    return draw(st.sampled_from(ops))


def trailing(index: Tensor, sizes: Batch) -> Tensor:
    """`index` with dimensions of `sizes` behind, along which it is the same."""
    return index.reshape(*index.shape, *[1] * len(sizes)).expand(*index.shape, *sizes)


@settings(quick, max_examples=150)
@given(st.data(), some_batches)
def test_rearrangements_commute_with_samples(data: st.DataObject, batch: Batch) -> None:
    """Each place of the spec after an operation holds what the operation brings there of a sample."""
    spec = data.draw(specs(batch, ragged=False))
    op = data.draw(rearrangements(batch))
    sample, moved = spec.rand(), op(spec)
    if isinstance(sample, Tensor):
        assert moved.shape == op(sample).shape
        assert moved.is_in(op(sample))
        return
    numbers = op(torch.arange(Size(batch).numel()).reshape(batch))
    assert moved.shape == numbers.shape
    for place in list(itertools.product(*map(range, numbers.shape)))[:: 1 + numbers.numel() // 8]:
        origin = tuple(int(i) for i in torch.unravel_index(numbers[place], batch))
        assert moved[place].is_in(sample[origin])


def is_lazy(value: Any) -> bool:
    """Whether there is a lazy stack of TensorDicts, or of objects, in a value."""
    if isinstance(value, (Tensor, NonTensorData)):
        return False
    return isinstance(value, LazyStackedTensorDict) or any(map(is_lazy, value.values()))


@settings(quick, max_examples=100)
@given(st.data(), batched_specs())
def test_shape_operations_commute_with_samples(data: st.DataObject, drawn: tuple[TensorSpec, Batch]) -> None:
    """An operation on a sample gives a member, of exactly the shape, of the spec under the same operation."""
    spec, batch = drawn
    op = data.draw(operations(batch))
    sample, moved_spec = spec.rand(), op(spec)
    if is_lazy(sample):  # tensordict lacks some operations on these, so the places are moved by their numbers
        numbers = op(torch.arange(Size(batch).numel()).reshape(batch))
        assert moved_spec.shape == numbers.shape
        for place in list(itertools.product(*map(range, numbers.shape)))[:: 1 + numbers.numel() // 8]:
            origin = tuple(int(i) for i in torch.unravel_index(numbers[place], batch))
            assert moved_spec[place].is_in(sample[origin])
        return
    moved_sample = op(sample)
    assert moved_spec.shape == moved_sample.shape
    assert moved_spec.is_in(moved_sample)
    assert op(spec.clone()) == moved_spec


@settings(quick, max_examples=60)
@given(st.data(), some_batches)
def test_tensors_of_different_shapes_move_as_entries_do(data: st.DataObject, batch: Batch) -> None:
    """An operation on a Stacked is that on a StackedComposite which has it as an entry."""
    assume(max(batch) > 1)
    dim = data.draw(st.sampled_from([d for d, size in enumerate(batch) if size > 1]))
    rest = (*batch[:dim], *batch[dim + 1 :])
    parts = [Bounded(0, 1, (*rest, 2 + i)) for i in range(batch[dim])]
    op = data.draw(operations(batch))
    leaf, whole = Stacked(*parts, dim=dim), StackedComposite(*(Composite(x=p, shape=rest) for p in parts), dim=dim)
    assert op(leaf) == op(whole)["x"]


@quick
@given(batched_specs(ragged=True))
def test_copies_are_equal(drawn: tuple[TensorSpec, Batch]) -> None:
    """Clone, pickle, deepcopy and JSON give equal specs with equal hashes."""
    spec, _ = drawn
    copies: list[Any] = [spec.clone(), pickle.loads(pickle.dumps(spec)), copy.deepcopy(spec), from_json(to_json(spec))]
    for other in copies:
        assert other == spec
        assert hash(other) == hash(spec)
        assert repr(other) == repr(spec)
        assert explain_difference(spec, other) == ""


@quick
@given(st.data(), batches)
def test_differences_are_explained(data: st.DataObject, batch: Batch) -> None:
    """There is a table if and only if two specs differ."""
    a, b = (data.draw(specs(batch, ragged=True)) for _ in range(2))
    assert (explain_difference(a, b) == "") == (a == b)


@settings(quick, max_examples=60)
@given(st.data(), batched_specs())
def test_stacks_are_those_of_samples(data: st.DataObject, drawn: tuple[TensorSpec, Batch]) -> None:
    """A stack of equal specs is the expanded one, holds stacked samples, and comes apart again."""
    spec, batch = drawn
    dim = 0 if isinstance(spec, Choice) else data.draw(st.integers(0, len(batch)))
    stacked: Any = torch.stack([spec, spec], dim)  # type: ignore[list-item]  # specs stack too
    assert stacked.is_in(torch.stack([spec.rand(), spec.rand()], dim))
    assert list(stacked.unbind(dim)) == [spec, spec] or "Choice" in repr(spec)  # whose places are another split
    assert stacked.unbind(dim)[0].is_in(spec.rand())
    assert torch.stack([spec, spec]) == spec.expand(2, *spec.shape)  # type: ignore[list-item]  # likewise


@quick
@given(st.data(), some_batches)
def test_stacks_of_different_specs_hold_their_samples(data: st.DataObject, batch: Batch) -> None:
    """Specs of one kind that differ stack, their samples are in the stack, and they come apart again."""
    kind = data.draw(st.sampled_from([Categorical, OneHot, Composite]))
    numbers = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=3))
    parts: list[Any] = [
        Composite(a=Categorical(n, batch), b=Bounded(0, n, (*batch, n)), shape=batch)
        if kind is Composite
        else Categorical(n, batch)
        if kind is Categorical
        else OneHot(n, (*batch, n))
        for n in numbers
    ]
    dim = data.draw(st.integers(0, len(batch)))
    whole = stack_specs(parts, dim)
    assert list(whole.unbind(dim)) == parts
    samples = [part.rand() for part in parts]
    joined = LazyStackedTensorDict(*samples, stack_dim=dim) if kind is Composite else samples
    assert whole.is_in(joined) or len(set(numbers)) == 1
    assert whole.is_in(whole.rand(3))


@quick
@given(st.data(), some_batches)
def test_concatenation_is_that_of_samples(data: st.DataObject, batch: Batch) -> None:
    """Two parts along a batch dimension, put together again, are the spec; their samples are in it."""
    spec = data.draw(leaves(batch))
    at = data.draw(st.integers(0, len(batch) - 1))
    parts = [spec[(slice(None),) * at + (part,)] for part in (slice(0, 1), slice(1, None))]
    parts = [part for part in parts if part.shape[at]]
    whole: Any = torch.cat(parts, at)
    assert whole == spec
    assert whole.is_in(torch.cat([part.rand() for part in parts], at))


@quick
@given(st.data(), batches)
def test_one_hot_and_categories_are_two_forms_of_one(data: st.DataObject, batch: Batch) -> None:
    """A spec of categories, and its samples, come back from the other form; masks go along."""
    n, nvec = data.draw(st.integers(1, 5)), data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    seed = data.draw(st.one_of(st.none(), st.integers(0, 99)))
    several = random_mask(batch, nvec, seed)
    for spec in (
        Categorical(n, batch, mask=random_mask(batch, [n], seed)),
        MultiCategorical(nvec, (*batch, len(nvec)), mask=several),
    ):
        one_hot = spec.to_one_hot_spec()
        sample = spec.rand(2)
        assert one_hot.is_in(spec.to_one_hot(sample))
        assert torch.equal(one_hot.to_categorical(spec.to_one_hot(sample)), sample)
        assert one_hot.to_categorical_spec() == spec
        assert one_hot.to_categorical_spec().to_one_hot_spec() == one_hot


@quick
@given(batched_specs(ragged=True))
def test_listed_values_are_in_the_spec(drawn: tuple[TensorSpec, Batch]) -> None:
    """`enumerate` lists as many values as `cardinality` says, all of them in the unmasked form of the spec."""
    spec, _ = drawn
    if not spec.cardinality() <= 200:
        return
    values = spec.enumerate()
    while isinstance(values, list):
        values = values[0]
    assert len(values) == spec.cardinality()
    assert "mask" in repr(spec) or spec.is_in(spec.enumerate())
