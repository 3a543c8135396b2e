"""Properties that every spec has: samples are in, projection lands inside, shape operations commute with samples."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from rl_specs import (
    Binary,
    Bounded,
    Categorical,
    Composite,
    LeafSpec,
    MultiCategorical,
    MultiOneHot,
    OneHot,
    ShapeError,
    SpecError,
    TensorSpec,
    Unbounded,
    cat_specs,
    resolve_device,
)

fast = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
batches = st.lists(st.integers(1, 3), max_size=3).map(tuple)


def random_mask(batch: tuple[int, ...], blocks: list[int], seed: int | None) -> Tensor | None:
    """A mask `[*batch, sum(blocks)]` that leaves a category in each block; None without a seed."""
    if seed is None:
        return None
    generator = torch.Generator().manual_seed(seed)
    masks = []
    for n in blocks:
        kept = torch.randint(0, n, (*batch, 1), generator=generator)
        masks.append((torch.rand(*batch, n, generator=generator) < 0.4) | (torch.arange(n) == kept))
    return torch.cat(masks, -1)


@st.composite
def leaves(draw: st.DrawFn) -> LeafSpec:
    """A spec of any kind with up to three batch dimensions."""
    batch = draw(batches)
    n = draw(st.integers(2, 5))
    nvec = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    low = draw(st.floats(-1e6, 1e6, width=32))
    high = draw(st.floats(low, 1e6, width=32)) if draw(st.booleans()) else float("inf")
    seed = draw(st.one_of(st.none(), st.integers(0, 2**31)))
    number = draw(st.sampled_from([torch.float16, torch.float32, torch.float64, torch.int32, torch.int64]))
    kinds: list[Callable[[], LeafSpec]] = [
        lambda: Bounded(low, high, batch, dtype=torch.float32),
        lambda: Bounded(-n, n * 7, batch, dtype=number),
        lambda: Unbounded(batch, dtype=number),
        lambda: Categorical(n, batch, dtype=torch.int32, mask=random_mask(batch, [n], seed)),
        lambda: OneHot(n, (*batch, n), dtype=number, mask=random_mask(batch, [n], seed)),
        lambda: MultiCategorical(nvec, (*batch, len(nvec)), mask=random_mask(batch, nvec, seed)),
        lambda: MultiOneHot(nvec, (*batch, sum(nvec)), mask=random_mask(batch, nvec, seed)),
        lambda: Binary(n, (*batch, n)),
    ]
    return draw(st.sampled_from(kinds))()


def batch_ndim(spec: LeafSpec) -> int:
    """Number of dimensions that shape operations may touch."""
    return spec.ndim - isinstance(spec, (OneHot, MultiOneHot, MultiCategorical))


@fast
@given(leaves(), batches)
def test_samples_are_in_the_spec(spec: LeafSpec, lead: tuple[int, ...]) -> None:
    """`rand` has the shape asked for and is in the spec; so is its encoding from numpy."""
    sample = spec.rand(lead)
    assert sample.shape == (*lead, *spec.shape)
    assert spec.is_in(sample)
    assert spec.is_in(spec.encode(spec.to_numpy(sample)))


@fast
@given(leaves(), st.integers(0, 2**31), st.sampled_from([0.1, 10.0, 1e8]))
def test_projection_is_idempotent_and_inside(spec: LeafSpec, seed: int, scale: float) -> None:
    """Any finite value projects into the spec, a second projection changes nothing, members stay as they are."""
    value = torch.randn(2, *spec.shape, generator=torch.Generator().manual_seed(seed)) * scale
    projected = spec.project(value)
    assert spec.is_in(projected)
    assert torch.equal(spec.project(projected), projected)
    member = spec.rand()
    assert torch.equal(spec.project(member), member)


@st.composite
def operations(draw: st.DrawFn, ndim: int) -> Callable[[Any], Any]:
    """A shape operation that leaves dimensions from `ndim` on alone."""
    new_dim = draw(st.integers(0, ndim))
    ops: list[Callable[[Any], Any]] = [
        lambda t: t.unsqueeze(new_dim),
        lambda t: t.expand(2, *t.shape),
        lambda t: t.reshape(-1, 1, *t.shape[ndim:]),
        lambda t: t[None],
    ]
    if ndim > 0:
        dim = draw(st.integers(0, ndim - 1))
        ops += [
            lambda t: t[(slice(None),) * dim + (0,)],
            lambda t: t[..., :1, None] if t.ndim == ndim else t[:1],
            lambda t: t.unbind(dim)[0],
            lambda t: t[torch.tensor([0, 0])],
            lambda t: t[torch.ones(t.shape[: dim + 1], dtype=torch.bool)],
            lambda t: t.flatten(0, dim),
            lambda t: t.squeeze(dim),
            lambda t: t.unflatten(dim, (1, -1)),
            lambda t: t.view(*t.shape[:dim], -1, *t.shape[ndim:]),
        ]
    chosen: Callable[[Any], Any] = draw(st.sampled_from(ops))
    return chosen


@fast
@given(st.data(), leaves())
def test_shape_operations_commute_with_samples(data: st.DataObject, spec: LeafSpec) -> None:
    """An operation on a sample gives a member, of exactly the shape, of the spec under the same operation."""
    op = data.draw(operations(batch_ndim(spec)))
    moved_spec: LeafSpec = op(spec)
    moved_sample: Tensor = op(spec.rand())
    assert moved_spec.shape == moved_sample.shape
    assert moved_spec.is_in(moved_sample)
    assert moved_spec.numel() == moved_sample.numel()


@fast
@given(st.data(), leaves())
def test_composite_operations_commute_with_samples(data: st.DataObject, spec: LeafSpec) -> None:
    """The same holds of a Composite and TensorDicts, whatever the entries."""
    k = data.draw(st.integers(0, batch_ndim(spec)))
    composite = Composite({"a": spec, ("n", "b"): Unbounded((*spec.shape[:k], 5))}, shape=spec.shape[:k])
    new_dim = data.draw(st.integers(0, k))
    ops: list[Callable[[Any], Any]] = [
        lambda x: x.unsqueeze(new_dim),
        lambda x: x.expand(2, *x.shape),
        lambda x: x[None],
        lambda x: x[..., None],
    ]
    for op in ops:
        moved = op(composite)
        sample = op(composite.rand())
        assert moved.shape == sample.batch_size
        assert moved.is_in(sample)
        assert moved["a"].shape == sample["a"].shape


@fast
@given(leaves())
def test_copies_are_equal(spec: LeafSpec) -> None:
    """Clone, pickle and deepcopy give equal specs with equal hashes; so does a stack, unstacked."""
    for other in (spec.clone(), pickle.loads(pickle.dumps(spec)), copy.deepcopy(spec)):
        assert other == spec
        assert hash(other) == hash(spec)
    stacked: Any = torch.stack([spec, spec], 0)  # type: ignore[list-item]  # specs stack too
    assert stacked.unbind(0) == (spec, spec)
    assert stacked == spec.expand(2, *spec.shape)


@fast
@given(leaves(), st.integers(0, 3))
def test_concatenation_is_that_of_samples(spec: LeafSpec, dim: int) -> None:
    """Two parts along a batch dimension, put together again, are the spec; their samples are in it."""
    ndim = batch_ndim(spec)
    if ndim == 0:
        return
    at = dim % ndim
    parts = [spec[(slice(None),) * at + (part,)] for part in (slice(0, 1), slice(1, None))]
    parts = [part for part in parts if part.shape[at]]
    whole: Any = torch.cat(parts, at)
    assert whole == spec
    assert whole.is_in(torch.cat([part.rand() for part in parts], at))


def test_concatenation_of_what_does_not_fit_is_refused() -> None:
    """Kinds, other dimensions, the vector of a one-hot, no spec at all."""
    with pytest.raises(SpecError, match="spec 1 differs from spec 0"):
        cat_specs([Unbounded((2,)), Bounded(0, 1, (2,))])
    with pytest.raises(ShapeError, match="outside dimension 0"):
        cat_specs([Unbounded((2, 3)), Unbounded((2, 4))])
    with pytest.raises(ShapeError, match="last dimension"):
        cat_specs([OneHot(3, (2, 3)), OneHot(3, (2, 3))], -1)
    with pytest.raises(SpecError, match="no specs"):
        cat_specs([])


def test_concatenation_of_composites() -> None:
    """Entries are concatenated along a batch dimension."""
    one = Composite(a=Bounded(0, 1, (2, 3)), n=Composite(b=Categorical(4, (2,)), shape=(2,)), shape=(2,))
    whole: Any = torch.cat([one, one.expand(2)])  # type: ignore[list-item]  # specs go together too
    assert whole == one[torch.tensor([0, 1, 0, 1])]


def test_negative_dimensions_count_from_the_back() -> None:
    """-1 is the last dimension, and for `unsqueeze` behind it."""
    spec = Unbounded((2, 3, 1))
    assert spec.squeeze(-1).shape == (2, 3)
    assert spec.unsqueeze(-1).shape == (2, 3, 1, 1)
    assert spec.flatten(-3, -2).shape == (6, 1)
    assert spec.unflatten(-2, (3, -1)).shape == (2, 3, 1, 1)
    assert spec.squeeze(0) == spec
    assert Unbounded(()).flatten().shape == (1,)
    assert stacked_shape(spec, -1) == (2, 3, 1, 2)


def stacked_shape(spec: TensorSpec, dim: int) -> tuple[int, ...]:
    """Shape of two specs stacked."""
    return tuple(torch.stack([spec, spec], dim).shape)  # type: ignore[list-item]  # specs stack too


def test_what_does_not_fit_is_an_error() -> None:
    """Sizes, dimensions and indices that do not fit say what there is."""
    spec = Unbounded((2, 3))
    with pytest.raises(ShapeError, match=r"cannot reshape to \(7,\).*6 elements.*\(2, 3\)"):
        spec.reshape(7)
    with pytest.raises(ShapeError, match="expand does not fit"):
        spec.expand(4, 3)
    with pytest.raises(ShapeError, match="unflatten"):
        spec.unflatten(1, (2, 2))
    with pytest.raises(IndexError, match="dimension 2 does not exist"):
        spec.squeeze(2)
    with pytest.raises(IndexError):
        spec[5]
    with pytest.raises(IndexError, match="at most 2"):
        spec[0, 0, 0]
    with pytest.raises(IndexError, match="single bool"):
        spec[True]


def test_index_forms() -> None:
    """Lists, ranges and arrays index like tensors."""
    spec = Unbounded((4, 3))
    assert spec[[0, 1]].shape == (2, 3)
    assert spec[range(3), 0].shape == (3,)
    assert spec[..., 0].shape == (4,)
    assert spec[()] == spec


def test_devices_are_those_that_tensors_report() -> None:
    """The CPU has no number, whatever was written; specs compare equal."""
    tensor = torch.zeros(1, device="cpu:0")
    for device in ("cpu", "cpu:0", torch.device("cpu", 0), None):
        assert resolve_device(device) == tensor.device
        assert Unbounded((2,), device=device) == Unbounded((2,))
    assert resolve_device("meta") == torch.zeros(1, device="meta").device


def test_other_torch_functions_are_refused() -> None:
    """Specs take part in `torch.stack` and `torch.cat` alone."""
    with pytest.raises(TypeError):
        torch.hstack([Unbounded(2), Unbounded(2)])  # type: ignore[list-item]  # what is tested


@pytest.mark.parametrize(
    "spec", [Bounded(-1, 1, (3,)), Bounded(0, float("inf"), (3,)), Bounded(0, 9, (3,), dtype=torch.int64)]
)
def test_bounded_compiles_in_one_graph(spec: Bounded) -> None:
    """`rand`, `is_in` and `project` of Bounded compile without a graph break and agree with the eager code."""
    check_compiled(spec)


@pytest.mark.parametrize("spec", [OneHot(3), Categorical(3, (3,)), MultiOneHot([1, 2]), Binary(3), Unbounded(3)])
def test_the_others_compile_in_one_graph(spec: LeafSpec) -> None:
    """So do those of the other kinds."""
    check_compiled(spec)


def check_compiled(spec: LeafSpec) -> None:
    """Compare compiled and eager results."""

    def use(value: Tensor) -> tuple[Tensor, Tensor, bool]:
        projected = spec.project(value)
        return spec.rand((4,)), projected, spec.is_in(projected)

    torch._dynamo.reset()
    value = torch.tensor([[-5.0, 0.3, 2.0], [0.0, 1.0, 100.0]])
    compiled: Callable[[Tensor], tuple[Tensor, Tensor, bool]] = torch.compile(use, fullgraph=True, backend="eager")
    sample, projected, is_in = compiled(value)
    assert spec.is_in(sample)
    assert sample.shape == (4, 3)
    assert torch.equal(projected, spec.project(value))
    assert is_in
