"""Linear recurrences backwards in time, as an operator of torch."""

from typing import Any

import torch
from torch import Tensor

from rl_cuda._kernels import define, define_gradient, launch
from rl_cuda._reverse_scan_torch import recurrence_torch, segment_steps
from rl_cuda._time import check_steps, rows_of, shaped_as


def reverse_linear_recurrence(coefficient: Tensor, offset: Tensor, *, time_dim: int = -2) -> Tensor:
    """Solve `x_t = coefficient_t * x_{t+1} + offset_t` backwards in time, with nothing after the last step.

    CUDA tensors go through the CUDA kernel where it can run (`is_available`), all others through plain torch; both give
    the same bits. Differentiable in both arguments. Works under `torch.compile` and in CUDA graphs.

    Args:
        coefficient: `[*B, T, *F]` float32 or float64. That of the last step multiplies nothing.
        offset: `[*B, T, *F]` dtype of `coefficient`.
        time_dim: the dimension of size T.
    Returns:
        `[*B, T, *F]` solution.
    Raises:
        ShapeError, DTypeError, DeviceError: the tensors differ, or are not as stated.
    """
    tensors = {"offset": offset, "coefficient": coefficient}
    check_steps("reverse_linear_recurrence", tensors, {}, time_dim)
    a, b = (rows_of(tensor, time_dim) for tensor in (coefficient, offset))
    solution: Tensor = torch.ops.rl_cuda.recurrence(a, b)
    return shaped_as(solution, offset, time_dim)


def launch_scan(name: str, results: int, *inputs: Tensor | float) -> tuple[Tensor, ...]:
    """Launch a scan over `[rows, steps]`.

    Args:
        name: of its launcher.
        results: how many tensors it writes.
        inputs: what it reads, in the order of the launcher; the first is a tensor of the dtype of the results.
    Returns:
        `[rows, steps]` each, without gaps.
    """
    solid = [one.contiguous() if isinstance(one, Tensor) else one for one in inputs]
    first = solid[0]
    assert isinstance(first, Tensor)
    rows, steps = first.shape
    segment = segment_steps(rows, steps)
    segments = -(-steps // segment)
    scratch = first.new_empty(3 * rows * segments) if segments > 1 else None
    outputs = tuple(torch.empty_like(first) for _ in range(results))
    launch(name, first, *solid, rows, steps, segment, *outputs, scratch)
    return outputs


def fake_scan(like: Tensor) -> Tensor:
    """A result of a scan without its values."""
    return torch.empty_like(like, memory_format=torch.contiguous_format)


def recurrence_kernels(coefficient: Tensor, offset: Tensor) -> Tensor:
    """The operator with the CUDA kernels."""
    return launch_scan("recurrence", 1, coefficient, offset)[0]


def _recurrence_portable(coefficient: Tensor, offset: Tensor) -> Tensor:
    return recurrence_torch(coefficient, offset).contiguous()


def _fake_recurrence(coefficient: Tensor, offset: Tensor) -> Tensor:
    return fake_scan(offset)


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], output)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of the offsets obeys the same recurrence in the other direction of time."""
    coefficient, solution = ctx.saved_tensors
    first = torch.zeros_like(coefficient[:, :1])
    before = torch.cat((first, coefficient[:, :-1]), 1)
    flipped: Tensor = torch.ops.rl_cuda.recurrence(before.flip(1), gradient.flip(1))
    of_offset = flipped.flip(1)
    return of_offset * torch.cat((solution[:, 1:], first), 1), of_offset


define(
    "recurrence(Tensor coefficient, Tensor offset) -> Tensor",
    kernels=recurrence_kernels,
    portable=_recurrence_portable,
    fake=_fake_recurrence,
)
define_gradient("recurrence", _backward, _remember)
