"""Checks of tensors that go to a kernel: dtype, device, dimensions, contiguity."""

import torch
from torch import Tensor

from rl_cuda._library import SUFFIX
from rl_specs import DeviceError, DTypeError, ShapeError, message


def check_tree(name: str, tree: Tensor) -> None:
    """Check that `tree` can be a tree; whether a tree has its number of elements is checked later.

    Raises:
        DTypeError, ShapeError: it cannot.
    """
    if tree.dtype not in SUFFIX:
        raise DTypeError(message(name, "tree has a wrong dtype", expected="float32 or float64", found=tree.dtype))
    check_vector(name, "tree", tree)


def check_beside(name: str, what: str, tensor: Tensor, dtype: torch.dtype, tree: Tensor) -> None:
    """Check dtype and device of what goes with a tree.

    Raises:
        DTypeError: another dtype.
        DeviceError: it is not where `tree` is.
    """
    if tensor.dtype != dtype:
        fix = f"Use {what}.to({dtype})"
        raise DTypeError(message(name, f"{what} has a wrong dtype", expected=dtype, found=tensor.dtype, fix=fix))
    if tensor.device != tree.device:
        raise DeviceError(
            message(name, f"{what} is on another device than tree", expected=tree.device, found=tensor.device)
        )


def check_vector(name: str, what: str, tensor: Tensor) -> None:
    """Check that a tensor has one dimension and no gaps.

    Raises:
        ShapeError: it has not.
    """
    if tensor.ndim != 1:
        raise ShapeError(message(name, f"{what} has a wrong shape", expected="[N]", found=list(tensor.shape)))
    if not tensor.is_contiguous():
        raise ShapeError(message(name, f"{what} is not contiguous", fix=f"Use {what}.contiguous()"))
