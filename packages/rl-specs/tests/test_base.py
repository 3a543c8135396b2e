"""What every spec has: concatenation, shapes, indices, devices, and compiling in one graph."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rl_specs import (
    Binary,
    Bounded,
    Categorical,
    Composite,
    LeafSpec,
    MultiOneHot,
    OneHot,
    ShapeError,
    SpecError,
    Stacked,
    TensorSpec,
    Unbounded,
    cat_specs,
    resolve_device,
)


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
    with pytest.raises(IndexError, match="two ellipses"):
        spec[..., 0, ...]


def test_index_forms() -> None:
    """Lists, ranges and arrays index like tensors."""
    spec = Unbounded((4, 3))
    assert spec[[0, 1]].shape == (2, 3)
    assert spec[range(3), 0].shape == (3,)
    assert spec[..., 0].shape == (4,)
    assert spec[()] == spec
    assert spec[True].shape == (1, 4, 3)
    assert spec[False, 0].shape == torch.zeros(4, 3)[False, 0].shape
    assert spec[[]].shape == (0, 3)
    assert spec[np.array([True, False, True, False])].shape == (2, 3)
    assert spec[np.int64(1)].shape == (3,)
    assert spec[[[0, 1], [2, 3]]].shape == (2, 2, 3)
    assert spec[[0, 1], None, [2, 2]].shape == torch.zeros(4, 3)[[0, 1], None, [2, 2]].shape


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


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: torch.squeeze(x, 0),
        lambda x: torch.squeeze(x),
        lambda x: torch.squeeze(x[..., None], (0, -1)),
        lambda x: torch.swapaxes(x, 0, 1),
        lambda x: torch.unsqueeze(x, dim=-1),
        lambda x: torch.flatten(x, 1),
        lambda x: torch.unflatten(x, 1, (2, -1)),
        lambda x: torch.permute(x, (2, 0, 1)),
        lambda x: torch.transpose(x, 0, 1),
        lambda x: torch.reshape(x, (4, 3)),
        lambda x: torch.index_select(x, 1, torch.tensor([3, 0, 0])),
        lambda x: torch.index_select(input=x, dim=2, index=torch.tensor([1])),
        lambda x: torch.unbind(x, 1)[2],
        lambda x: torch.cat([x, x], 1),
    ],
)
def test_functions_of_torch_take_specs(operation: Callable[[Any], Any]) -> None:
    """What a function of torch makes of a spec is the spec of what it makes of the bounds."""
    low = torch.arange(12.0).reshape(1, 4, 3)
    assert operation(Bounded(low, low + 1)) == Bounded(operation(low), operation(low + 1))


def test_functions_that_are_no_shape_operations_refuse_specs() -> None:
    """Arithmetic on a spec is a TypeError."""
    spec: Any = Unbounded(())
    with pytest.raises(TypeError):
        torch.add(spec, spec)


def test_orders_that_are_none_are_refused() -> None:
    """A permutation names every dimension once, and leaves one-hot vectors in their place."""
    with pytest.raises(ShapeError, match=r"each of 2 dimensions once, found \(0, 0\)"):
        Unbounded((2, 3)).permute(0, 0)
    with pytest.raises(ShapeError, match="last dimension"):
        OneHot(3, (2, 3)).transpose(0, 1)
    ragged: Any = Stacked(Unbounded((2, 3)), Unbounded((2, 4)), dim=0)
    assert ragged.permute(1, 0, 2).shape == (2, 2, -1)
    with pytest.raises(ShapeError, match="whose size differs"):
        ragged.permute(2, 1, 0)


def test_other_names() -> None:
    """`sample`, `contains`, `cpu` are `rand`, `is_in`, `to("cpu")`."""
    spec = Bounded(0, 1, (2,))
    assert spec.contains(spec.sample(3))
    assert not spec.contains(spec.sample() + 2)
    assert spec.cpu() == spec.to("cpu") == spec
