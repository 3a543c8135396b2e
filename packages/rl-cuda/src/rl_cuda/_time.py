"""Tensors `[*B, T, *F]` as the kernels want them, `[rows, T]` without gaps, and back; the checks before."""

import torch
from torch import Tensor

from rl_cuda._library import SUFFIX
from rl_specs import DeviceError, DTypeError, ShapeError, message


def check_steps(name: str, numbers: dict[str, Tensor], flags: dict[str, Tensor], time_dim: int) -> None:
    """Check that all tensors have one shape and device, numbers one dtype, and that there is at least one step.

    Args:
        name: the function, for the message.
        numbers: float32 or float64, by the name the user knows them by; the first one sets the expectation.
        flags: bool.
        time_dim: the dimension of time.
    Raises:
        ShapeError, DTypeError, DeviceError: they are not.
    """
    first_name, first = next(iter(numbers.items()))
    if first.dtype not in SUFFIX:
        found = first.dtype
        raise DTypeError(message(name, f"{first_name} has a wrong dtype", expected="float32 or float64", found=found))
    if not -first.ndim <= time_dim < first.ndim or first.shape[time_dim] == 0:
        problem = f"no steps in dimension {time_dim}"
        fix = "Unsqueeze the trailing dimension, or pass time_dim"
        raise ShapeError(message(name, problem, expected="[*B, T, 1], T >= 1", found=list(first.shape), fix=fix))
    for group, dtype in ((numbers, first.dtype), (flags, torch.bool)):
        for what, tensor in group.items():
            if tensor.shape != first.shape:
                problem = f'"{what}" and "{first_name}" differ in shape, and broadcasting them would mix up rows'
                raise ShapeError(message(name, problem, expected=list(first.shape), found=list(tensor.shape)))
            if tensor.dtype != dtype:
                problem = f"{what} has a wrong dtype"
                fix = f"Use {what}.to({dtype})"
                raise DTypeError(message(name, problem, expected=dtype, found=tensor.dtype, fix=fix))
            if tensor.device != first.device:
                problem = f"{what} is on another device than {first_name}"
                raise DeviceError(message(name, problem, expected=first.device, found=tensor.device))


def rows_of(tensor: Tensor, time_dim: int) -> Tensor:
    """`[*B, T, *F]` as `[rows, T]` without gaps; a copy only where the layout asks for one."""
    last = tensor.movedim(time_dim, -1)
    return last.reshape(-1, last.shape[-1]).contiguous()


def shaped_as(rows: Tensor, like: Tensor, time_dim: int) -> Tensor:
    """`[rows, T]` as the shape of `like`."""
    return rows.view(like.movedim(time_dim, -1).shape).movedim(-1, time_dim)
