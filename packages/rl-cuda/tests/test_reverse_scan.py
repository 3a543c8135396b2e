"""Linear recurrences backwards in time: against a loop, by bits between devices, and their gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor

import rl_cuda
from rl_cuda._reverse_scan_torch import recurrence_torch
from rl_specs import DTypeError, ShapeError

SHAPES = [(1, 1), (3, 31), (3, 32), (2, 33), (600, 70), (2, 1024), (2, 1025), (1, 20_000)]


def slow(a: Tensor, b: Tensor) -> Tensor:
    """One step after the other, in float64."""
    a, b = a.double(), b.double()
    x, result = torch.zeros_like(b[:, 0]), []
    for t in reversed(range(b.shape[1])):
        x = a[:, t] * x + b[:, t]
        result.append(x)
    return torch.stack(result[::-1], 1)


def problem(shape: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Coefficients as of discounts with some ends of trajectories, and offsets."""
    generator = torch.Generator().manual_seed(sum(shape))
    a = 0.9 + 0.1 * torch.rand(shape, generator=generator, dtype=dtype)
    a[torch.rand(shape, generator=generator) < 0.02] = 0
    return a, torch.randn(shape, generator=generator, dtype=dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_equals_a_loop(device: torch.device, shape: tuple[int, int], dtype: torch.dtype) -> None:
    """Rows of every length, of one chunk, of several, and of several segments, give what a loop gives."""
    a, b = problem(shape, dtype)
    found = rl_cuda.reverse_linear_recurrence(a.to(device), b.to(device), time_dim=-1).cpu()
    accuracy = 1e-4 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(found.double(), slow(a, b), rtol=accuracy, atol=accuracy)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_device_gives_the_same_bits(device: torch.device, shape: tuple[int, int], dtype: torch.dtype) -> None:
    """The order of additions is that of the plain torch form everywhere."""
    a, b = problem(shape, dtype)
    found = rl_cuda.reverse_linear_recurrence(a.to(device), b.to(device), time_dim=-1)
    assert torch.equal(found.cpu(), recurrence_torch(a, b))


def test_hand_computed_along_any_dimension(device: torch.device) -> None:
    """x = (1 + 0.5 * 4, 2 + 0.5 * 4, 4) along the chosen dimension, each feature by itself."""
    offset = torch.tensor([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]], device=device)
    found = rl_cuda.reverse_linear_recurrence(torch.full_like(offset, 0.5), offset)
    assert found.tolist() == [[3.0, 30.0], [4.0, 40.0], [4.0, 40.0]]
    flipped = rl_cuda.reverse_linear_recurrence(torch.full_like(offset.T, 0.5), offset.T, time_dim=1)
    assert torch.equal(flipped, found.T)


def test_no_rows(device: torch.device) -> None:
    """A batch without rows gives one without rows."""
    empty = torch.zeros(0, 5, 1, device=device)
    assert rl_cuda.reverse_linear_recurrence(empty, empty).shape == (0, 5, 1)


def test_gradients(device: torch.device) -> None:
    """The gradients of both arguments are those of finite differences."""
    a, b = (tensor.to(device).requires_grad_() for tensor in problem((2, 40), torch.float64))

    def solve(a: Tensor, b: Tensor) -> Tensor:
        return rl_cuda.reverse_linear_recurrence(a, b, time_dim=-1)

    assert torch.autograd.gradcheck(solve, (a, b))


def test_gradients_of_a_result_that_is_used_transposed(device: torch.device) -> None:
    """Where time comes first, and the gradient arrives with gaps between its rows, it is that of finite differences."""
    a, b = (tensor.to(device).T.contiguous().requires_grad_() for tensor in problem((3, 40), torch.float64))
    factor = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(device)

    def solve(a: Tensor, b: Tensor) -> Tensor:
        return rl_cuda.reverse_linear_recurrence(a, b, time_dim=0) * factor

    assert torch.autograd.gradcheck(solve, (a, b))


def test_the_operator_takes_tensors_with_gaps(device: torch.device) -> None:
    """Transposed and expanded inputs give what their copies give, in a result without gaps."""
    a, b = (tensor.to(device).T for tensor in problem((33, 5), torch.float64))
    expanded = a[:, :1].expand(5, 33)
    for first in (a, expanded):
        found = torch.ops.rl_cuda.recurrence(first, b)
        assert found.is_contiguous()
        assert torch.equal(found, torch.ops.rl_cuda.recurrence(first.contiguous(), b.contiguous()))
        torch.library.opcheck(torch.ops.rl_cuda.recurrence.default, (first, b))


def test_works_in_a_compiled_function(device: torch.device) -> None:
    """It compiles as one graph, gradients included."""
    a, b = (tensor.to(device).requires_grad_() for tensor in problem((2, 40), torch.float64))

    def loss(a: Tensor, b: Tensor) -> Tensor:
        return rl_cuda.reverse_linear_recurrence(a, b, time_dim=-1).square().sum()

    compiled: Any = torch.compile(loss, backend="aot_eager", fullgraph=True)
    found = torch.autograd.grad(compiled(a, b), (a, b))
    for one, other in zip(found, torch.autograd.grad(loss(a, b), (a, b)), strict=True):
        torch.testing.assert_close(one, other)


def test_operator_is_registered_correctly(device: torch.device) -> None:
    """Schema, fake implementation, gradient and tracing of the operator agree with what it does."""
    a, b = (tensor.to(device).requires_grad_() for tensor in problem((2, 40), torch.float64))
    torch.library.opcheck(torch.ops.rl_cuda.recurrence.default, (a, b))


def test_bad_input_is_named() -> None:
    """Tensors that differ, or have no time dimension, are errors that say which and how."""
    one = torch.ones(2, 3, 1)
    with pytest.raises(ShapeError, match=r'"coefficient" and "offset" differ in shape'):
        rl_cuda.reverse_linear_recurrence(one[:, :2], one)
    with pytest.raises(ShapeError, match=r"no steps in dimension -2.*\[3\]"):
        rl_cuda.reverse_linear_recurrence(one[0, :, 0], one[0, :, 0])
    with pytest.raises(DTypeError, match=r"offset has a wrong dtype.*float32 or float64.*float16"):
        rl_cuda.reverse_linear_recurrence(one.half(), one.half())
    with pytest.raises(DTypeError, match=r"coefficient has a wrong dtype.*float32.*float64"):
        rl_cuda.reverse_linear_recurrence(one.double(), one)
