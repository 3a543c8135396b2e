"""Tensors of different shapes or domains, stacked."""

from typing import Any

import numpy as np
import pytest
import torch

from rl_specs import Bounded, Categorical, Composite, OneHot, ShapeError, SpecError, Stacked, Unbounded, stack_specs


def ragged() -> Stacked:
    """Two kinds of agents, one with 2 and one with 3 numbers."""
    return Stacked(Bounded(0.0, 1.0, (2,)), Bounded(5.0, 6.0, (3,)), dim=0)


def test_sizes_that_differ_are_minus_one() -> None:
    """All other sizes are those of the stacked specs, with the number of specs at the stack's dimension."""
    assert ragged().shape == (2, -1)
    assert Stacked(Unbounded((4, 2, 7)), Unbounded((4, 3, 7)), dim=1).shape == (4, 2, -1, 7)
    assert Stacked(Categorical(2, (4,)), Categorical(3, (4,)), dim=-1).shape == (4, 2)
    assert ragged().numel() == 5
    assert ragged().dtype == torch.float32
    assert ragged().space[1].high.tolist() == [6.0, 6.0, 6.0]


def test_values_of_different_shapes_are_lists() -> None:
    """One tensor for each spec, with the dimensions in front; a nested tensor of them is a value too."""
    spec = ragged()
    sample = spec.rand(4)
    assert [part.shape for part in sample] == [(4, 2), (4, 3)]
    assert spec.is_in(sample)
    assert spec.is_in(tuple(sample))
    assert not spec.is_in(sample[::-1])
    assert not spec.is_in(sample[:1])
    assert not spec.is_in([sample[0], sample[1][0]])
    assert not spec.is_in(torch.zeros(2, 3))
    nested = torch.nested.nested_tensor([torch.ones(2), torch.full((3,), 5.5)], layout=torch.jagged)
    assert spec.is_in(nested)
    assert [part.tolist() for part in spec.project(nested * 10)] == [[1.0, 1.0], [6.0, 6.0, 6.0]]


def test_values_of_one_shape_are_tensors() -> None:
    """Domains are those of the stacked specs, each at its place."""
    spec = Stacked(Categorical(2, (3,)), Categorical(5, (3,)), dim=1)
    assert spec.shape == (3, 2)
    sample = spec.rand(7)
    assert sample.shape == (7, 3, 2)
    assert spec.is_in(sample)
    assert spec.is_in(torch.tensor([[1, 4]]).expand(3, 2))
    assert not spec.is_in(torch.tensor([[4, 1]]).expand(3, 2))
    assert spec.is_in([torch.ones(3, dtype=torch.int64), torch.full((3,), 4)])
    assert spec.project(torch.tensor([[9, 9]]).expand(3, 2)).tolist() == [[1, 4]] * 3
    assert not spec.is_in(sample.to(torch.int32))


def test_what_is_wrong_is_said_part_by_part() -> None:
    """The table of differences names the parts by their numbers."""
    with pytest.raises(SpecError, match=r'"\[1\]" +domain +low=5, high=6'):
        ragged().assert_is_in([torch.zeros(2), torch.zeros(3)])
    with pytest.raises(SpecError, match=r"list of tensors of shapes \(\*batch, 2\), \(\*batch, 3\) +list of 1"):
        ragged().assert_is_in([torch.zeros(2)])
    with pytest.raises(ShapeError, match=r"Stacked.project.*Tensor of shape \(4,\).*one part for each"):
        ragged().project(torch.zeros(4))


def test_numpy_there_and_back() -> None:
    """Lists of parts, or one array along the dimension of the stack."""
    spec = Stacked(OneHot(2), OneHot(3), dim=0)
    value = spec.encode([np.int64(1), np.int64(2)])
    assert [part.tolist() for part in value] == [[False, True], [False, False, True]]
    assert [int(index) for index in spec.to_numpy(value)] == [1, 2]
    numbers = Stacked(Categorical(2, (3,)), Categorical(5, (3,)), dim=1)
    assert numbers.encode(np.array([[0, 4]] * 3)).tolist() == [[0, 4]] * 3
    with pytest.raises(ShapeError, match=r"Stacked.encode.*Expected 2, found 3"):
        spec.encode([1, 1, 1])
    with pytest.raises(SpecError, match=r"Stacked.encode.*found int"):
        spec.encode(3)


def test_enumeration_lists_combinations() -> None:
    """The last spec changes fastest."""
    spec = Stacked(Categorical(2), Categorical(3), dim=0)
    assert spec.cardinality() == 6
    assert spec.enumerate().tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert [part.shape for part in Stacked(OneHot(2), OneHot(3), dim=0).enumerate()] == [(6, 2), (6, 3)]


def test_the_stack_comes_apart() -> None:
    """An index along the stack gives the stacked specs, a slice a stack of fewer, one alone a plain spec."""
    spec: Any = Stacked(*(Bounded(0, 1, (4, n)) for n in (2, 3, 5)), dim=0)
    assert spec[1] == Bounded(0, 1, (4, 3))
    assert spec[:2] == Stacked(Bounded(0, 1, (4, 2)), Bounded(0, 1, (4, 3)), dim=0)
    assert spec[:, 0] == Stacked(*(Bounded(0, 1, (n,)) for n in (2, 3, 5)), dim=0)
    assert spec[2:] == Bounded(0, 1, (1, 4, 5))
    assert spec[[2, 2]] == Bounded(0, 1, (2, 4, 5))
    assert spec.unbind(0) == tuple(Bounded(0, 1, (4, n)) for n in (2, 3, 5))
    assert spec.unbind(1)[0] == spec[:, 3]
    assert spec.expand(7, 3, 4, -1).shape == (7, 3, 4, -1)
    assert spec.flatten(0, 1).shape == (12, -1)
    assert spec.reshape(2, 6, -1).unbind(0)[0].shape == (6, -1)
    assert spec.to(torch.float64).dtype == torch.float64
    assert spec.to("meta").device == torch.device("meta")
    assert spec[..., 0] == Stacked(*[Bounded(0, 1, (4,))] * 3, dim=0)
    assert spec[1:, ..., None, -2:] == Stacked(*[Bounded(0, 1, (4, 1, 2))] * 2, dim=0)
    assert spec[0, :, 1] == Bounded(0, 1, (4,))
    assert spec[:, None, 2] == Stacked(*(Bounded(0, 1, (1, n)) for n in (2, 3, 5)), dim=0)
    with pytest.raises(ShapeError, match=r"Stacked: the operation reaches.*unbind"):
        spec[..., [0, 1]]
    with pytest.raises(ShapeError, match="the operation reaches"):
        spec.flatten()
    with pytest.raises(ShapeError, match="the operation reaches"):
        spec.expand(3, 4, 7)


def test_stacking_of_specs_that_differ() -> None:
    """`torch.stack` makes a Stacked of them, unless it is told to be strict; equal ones stay dense."""
    parts = [Categorical(2), Categorical(3)]
    assert torch.stack(parts) == Stacked(*parts, dim=0)  # type: ignore[arg-type]  # specs stack too
    assert stack_specs([parts[0]] * 2) == Categorical(2, (2,))
    assert stack_specs([Bounded(0, 1, (2,)), Bounded(0, 5, (2,))]) == Bounded(0, torch.tensor([[1.0], [5.0]]), (2, 2))
    with pytest.raises(SpecError, match="spec 1 differs"):
        stack_specs(parts, strict=True)
    with pytest.raises(ShapeError, match=r"shape of spec 1.*\(2,\).*\(3,\)"):
        stack_specs([Unbounded((2,)), Unbounded((3,))], strict=True)
    twice = stack_specs([ragged(), ragged()], 1)
    assert twice == ragged().unsqueeze(1).expand(2, 2, -1)
    other = Stacked(Bounded(0.0, 1.0, (4,)), Bounded(5.0, 6.0, (3,)), dim=0)
    both = stack_specs([ragged(), other])
    assert both.shape == (2, 2, -1)
    assert both.unbind(0) == (ragged(), other)
    assert both.is_in(both.rand(3))
    assert torch.cat([ragged(), other]).shape == (4, -1)  # type: ignore[list-item]  # specs go together too


def test_what_does_not_stack_is_refused() -> None:
    """Kinds, dtypes, sizes in front, entries, nothing."""
    with pytest.raises(SpecError, match="spec 1 differs from spec 0 in kind, dtype"):
        Stacked(Unbounded(()), Unbounded((), dtype=torch.int64), dim=0)
    with pytest.raises(SpecError, match="Use specs of one kind"):
        stack_specs([Unbounded((2,)), Bounded(0, 1, (2,))])
    with pytest.raises(ShapeError, match=r"in front of the dimension of the stack.*dim=1.*such as 0"):
        stack_specs([Unbounded((2,)), Unbounded((3,))], 1)
    with pytest.raises(SpecError, match="spec 0 is not that of a tensor"):
        Stacked(Composite(), dim=0)
    with pytest.raises(SpecError, match="no specs given"):
        Stacked(dim=0)
    with pytest.raises(ShapeError, match=r"entry 'x'.*no entry of one TensorDict.*Stack Composites"):
        Composite(x=ragged(), shape=(2,))


def test_a_stack_without_places_keeps_its_specs() -> None:
    """Copies of a stack in a batch of size 0, alone and as an entry, are equal to it."""
    stack = Stacked(Categorical(1, (0,)), Categorical(2, (0,)), dim=1)
    whole = Composite(kind=stack, shape=(0, 2))
    assert stack[:] == stack.clone() == stack.reshape(0, 2) == stack
    assert whole[:] == whole.clone() == whole.reshape(0, 2) == whole
