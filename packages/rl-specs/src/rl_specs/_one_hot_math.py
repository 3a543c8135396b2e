"""One-hot vectors along the last dimension, as functions of tensors."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Generator, Size, Tensor

from rl_specs.errors import SpecError, message

_NUMPY_DTYPES: Final[dict[torch.dtype, Any]] = {
    torch.bool: np.bool_,
    torch.int64: np.int64,
    torch.float32: np.float32,
}


def random_one_hot(n: int, size: Size, dtype: torch.dtype, device: torch.device, generator: Generator | None) -> Tensor:
    """Uniform one-hot vectors `[*size, n]`."""
    index = torch.randint(0, n, size, generator=generator, device=device)
    if not size and index.is_cpu:
        kind = _NUMPY_DTYPES.get(dtype)
        if kind is not None and not torch.compiler.is_compiling():
            vector = np.zeros(n, kind)  # one vector in a third of the time that four tensor operations take
            vector[int(index.item())] = 1
            return torch.from_numpy(vector)
    return expand_index(index, n).to(dtype)


def expand_index(index: Tensor, n: int) -> Tensor:
    """Bool `[*B, n]`, true at `index` `[*B]`; all false where that is out of range."""
    return index.unsqueeze(-1) == torch.arange(n, device=index.device)


def nearest_one_hot(value: Tensor) -> Tensor:
    """Bool `[*B, n]`, true at the first greatest of `value` `[*B, n]`."""
    return expand_index(greatest_index(value), value.shape[-1])


def greatest_index(value: Tensor) -> Tensor:
    """Index `[*B]` of the first greatest element along the last dimension."""
    return (value.to(torch.uint8) if value.dtype == torch.bool else value).argmax(-1)


def is_one_hot(value: Tensor) -> Tensor:
    """Bool `[*B]`: every element of the last dimension is 0 or 1 and one is 1."""
    is_one = value == 1
    return (is_one | (value == 0)).all(-1) & (is_one.sum(-1) == 1)


def check_indices(component: str, index: Tensor, n: int | Tensor) -> None:
    """Check that host indices are in range; those on an accelerator are not read.

    Raises:
        SpecError: an index is below 0 or not below `n`, or no whole number.
    """
    check_whole_numbers(component, index)
    if index.device.type == "cpu" and not bool(((index >= 0) & (index < n)).all()):
        expected = f"0 <= index < {n.tolist() if isinstance(n, Tensor) else n}"
        raise SpecError(message(component, "category out of range", expected=expected, found=index.tolist()))


def check_whole_numbers(component: str, index: Tensor) -> None:
    """Check that host indices of a floating-point dtype are whole; those on an accelerator are not read.

    Raises:
        SpecError: one is not.
    """
    if index.is_floating_point() and index.device.type == "cpu" and not bool((index == index.round()).all()):
        fix = "Pass integers, or spec.project(value)"
        raise SpecError(message(component, "categories are whole numbers", found=index.tolist(), fix=fix))


def check_one_hot(component: str, blocks: Sequence[Tensor]) -> None:
    """Check that vectors on the host, `[*B, n]` each, are one-hot; those on an accelerator are not read.

    Raises:
        SpecError: one is not.
    """
    if blocks[0].device.type == "cpu" and not all(bool(is_one_hot(block).all()) for block in blocks):
        found = [block.tolist() for block in blocks]
        fix = "Pass one-hot vectors, or category numbers"
        raise SpecError(message(component, "vectors are not one-hot", expected="a single 1", found=found, fix=fix))
