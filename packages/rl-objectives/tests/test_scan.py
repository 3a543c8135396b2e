"""Tests of the linear recurrence."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rl_objectives.functional import _scan, reverse_linear_recurrence


def loop(coefficient: Tensor, offset: Tensor) -> Tensor:
    """The recurrence step by step in float64, time at dimension -2."""
    following = torch.zeros_like(offset[..., 0, :], dtype=torch.float64)
    out = []
    for t in reversed(range(offset.shape[-2])):
        following = coefficient[..., t, :].double() * following + offset[..., t, :].double()
        out.append(following)
    return torch.stack(out[::-1], -2)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 5), steps=st.integers(1, 70), features=st.integers(1, 2), seed=st.integers(0, 1000))
def test_equals_the_loop(rows: int, steps: int, features: int, seed: int) -> None:
    """Every shape gives what a float64 loop gives, the last coefficient being ignored."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(rows, steps, features, generator=generator)
    b = torch.randn(rows, steps, features, generator=generator)
    expected = loop(a, b)
    torch.testing.assert_close(reverse_linear_recurrence(a, b).double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 2048, 1), (64, 300, 1), (700, 24, 1)])
def test_is_exact_to_1e_5_with_a_slow_decay(shape: tuple[int, ...]) -> None:
    """Long and wide problems stay within 1e-5 of float64, relative to their size."""
    a = torch.full(shape, 0.99 * 0.95)
    a[torch.rand(shape) < 0.01] = 0.0
    b = torch.randn(shape)
    torch.testing.assert_close(reverse_linear_recurrence(a, b).double(), loop(a, b), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 7])
def test_blocks_of_rows_equal_the_whole(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Solving some rows at a time, the last block being smaller, gives the bits of solving all at once."""
    a, b = torch.rand(7, 50, 1), torch.randn(7, 50, 1)
    whole = reverse_linear_recurrence(a, b)
    monkeypatch.setattr(_scan, "_BLOCK", rows * 50 + 10)
    assert torch.equal(reverse_linear_recurrence(a, b), whole)


@pytest.mark.parametrize("coefficient", [0.0, 1e-30, 0.5, 1.0])
def test_extreme_coefficients_over_many_steps(coefficient: float) -> None:
    """Coefficients whose products vanish, and those that never decay, stay finite and within 1e-5 of float64."""
    a = torch.full((2, 5000, 1), coefficient)
    b = torch.rand(2, 5000, 1)
    torch.testing.assert_close(reverse_linear_recurrence(a, b).double(), loop(a, b), atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_the_loop() -> None:
    """Gradients with respect to both arguments agree with finite differences."""
    a = torch.rand(2, 6, 1, dtype=torch.float64, requires_grad=True)
    b = torch.randn(2, 6, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(reverse_linear_recurrence, (a, b))


def test_with_and_without_gradient_agree() -> None:
    """The passes in buffers and the passes as new tensors give the same bits."""
    a, b = torch.rand(3, 50, 1), torch.randn(3, 50, 1)
    with_gradient = reverse_linear_recurrence(a, b.clone().requires_grad_()).detach()
    assert torch.equal(reverse_linear_recurrence(a, b), with_gradient)


def test_inputs_are_left_alone() -> None:
    """Neither argument is written to."""
    a, b = torch.rand(3, 50, 1), torch.randn(3, 50, 1)
    kept = a.clone(), b.clone()
    reverse_linear_recurrence(a, b)
    assert torch.equal(a, kept[0])
    assert torch.equal(b, kept[1])


def test_any_dimension_can_be_time() -> None:
    """Time at the front, and tensors that are not contiguous, give the same numbers."""
    a, b = torch.rand(3, 50, 1), torch.randn(3, 50, 1)
    front = reverse_linear_recurrence(a.movedim(1, 0), b.movedim(1, 0), time_dim=0)
    torch.testing.assert_close(front.movedim(0, 1), reverse_linear_recurrence(a, b))


def test_compiles_in_one_graph() -> None:
    """`torch.compile(fullgraph=True)` finds no break."""
    a, b = torch.rand(3, 9, 1), torch.randn(3, 9, 1)
    compiled = torch.compile(reverse_linear_recurrence, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(a, b), reverse_linear_recurrence(a, b))
