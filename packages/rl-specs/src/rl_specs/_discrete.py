"""What the specs of categories share."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Size, Tensor

from rl_specs._leaf import LeafSpec, as_tensor, dtype_str
from rl_specs._one_hot_math import check_whole_numbers
from rl_specs._shape_ops import ShapeOp, SizeLike, as_size, known, moved_size, readable, shape_fits
from rl_specs.errors import DTypeError, ShapeError, SpecError, message


def check_count(component: str, n: int) -> int:
    """`n` as an int.

    Raises:
        SpecError: it is not a positive whole number.
    """
    if isinstance(n, bool) or int(n) != n or n < 1:
        raise SpecError(message(component, "wrong number of categories", expected="an int of at least 1", found=n))
    return int(n)


def check_integer_dtype(component: str, dtype: torch.dtype, n: int) -> None:
    """Check that `dtype` holds the integers 0 to `n - 1`.

    Raises:
        DTypeError: it does not.
    """
    if dtype.is_floating_point or dtype.is_complex:
        fix = "Use an integer dtype, OneHot for floating-point vectors or Bounded for numbers"
        raise DTypeError(message(component, "categories are integers", found=dtype_str(dtype), fix=fix))
    greatest = 1 if dtype == torch.bool else torch.iinfo(dtype).max
    if n - 1 > greatest:
        problem = f"dtype {dtype_str(dtype)} cannot hold {n} categories"
        raise DTypeError(message(component, problem, fix="Use int64"))


def as_categories(component: str, value: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Category numbers from numpy or Python as a tensor.

    Raises:
        SpecError: one, on the host, is not whole.
    """
    if isinstance(value, (int, np.integer)) or (isinstance(value, np.ndarray) and value.dtype.kind in "iub"):
        return as_tensor(value, dtype, device)
    numbers = as_tensor(value, None, device)
    check_whole_numbers(component, numbers)
    return numbers.to(dtype)


def sized(component: str, shape: SizeLike | None, last: int) -> Size:
    """`shape`, whose last dimension must be `last`; `(last,)` for `None`.

    Raises:
        ShapeError: the last dimension is another one.
    """
    if shape is None:
        return Size((last,))
    size = as_size(shape)
    if not size or size[-1] != last:
        fix = f"Give the full shape, (*batch, {last}), or none"
        raise ShapeError(
            message(component, "shape does not end in the size of one value", expected=last, found=tuple(size), fix=fix)
        )
    return size


def moved_shape(specs: Sequence[LeafSpec], op: ShapeOp) -> Size:
    """Shape after `op` on values whose last dimension is one element and must stay whole.

    Raises:
        ShapeError: `op` moves the last dimension or cuts it.
    """
    last, device = specs[0].shape[-1], readable(specs[0].device)
    marks = torch.arange(last, device=device)
    moved = op([marks.expand(known(spec.shape)) for spec in specs])
    is_whole = moved.ndim > 0 and moved.shape[-1] == last and bool((moved == marks).all())
    if is_whole and last > 1:
        rows = op(_row_numbers([known(spec.shape)[:-1] for spec in specs], last, device))
        is_whole = bool((rows == rows[..., :1]).all())
    if not is_whole:
        raise ShapeError(
            message(
                type(specs[0]).__name__,
                "operation touches the last dimension, which holds one value",
                expected=f"shape (*batch, {last})",
                found=tuple(moved.shape),
                fix="Operate on batch dimensions only",
            )
        )
    return moved_size([spec.shape for spec in specs], device, op)


def _row_numbers(batches: Sequence[Size], last: int, device: torch.device | None) -> list[Tensor]:
    """For values of batch shapes `batches`: the number of each row, `[*batch, last]`, along which it is the same."""
    counts = [batch.numel() for batch in batches]
    numbers = torch.functional.split(torch.arange(sum(counts), device=device), counts)
    return [row.reshape(*batch, 1).expand(*batch, last) for row, batch in zip(numbers, batches, strict=True)]


def check_nvec(component: str, nvec: Sequence[int] | Tensor) -> tuple[int, ...]:
    """`nvec` as a tuple of ints.

    Raises:
        SpecError: it is empty or holds anything but positive whole numbers.
    """
    if (isinstance(nvec, Tensor) and nvec.ndim != 1) or any(isinstance(n, (list, tuple)) for n in nvec):
        fix = "Stack one spec a row: torch.stack([MultiCategorical(row) for row in nvec])"
        rows = nvec.tolist() if isinstance(nvec, Tensor) else nvec
        raise SpecError(message(component, "nvec of several rows", expected="one row", found=rows, fix=fix))
    counts = tuple(check_count(component, n) for n in (nvec.tolist() if isinstance(nvec, Tensor) else nvec))
    if not counts:
        raise SpecError(message(component, "nvec is empty", expected="at least one number of categories"))
    return counts


def is_encoded(spec: LeafSpec, value: Tensor) -> bool:
    """Whether `value` already is of the spec; integers must be in its domain, since they could be category numbers."""
    if value.dtype != spec.dtype or not shape_fits(value.shape, spec.shape, None):
        return False
    return value.dtype == torch.bool or value.is_floating_point() or bool(spec._valid(value).all())
