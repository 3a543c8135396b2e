"""What users give as priorities, as rows and numbers to be trusted."""

from collections.abc import Sequence
from math import inf, prod
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rl_specs import ShapeError, message

Reduction: TypeAlias = Literal["max", "min", "median", "mean"]
REDUCTIONS: tuple[Reduction, ...] = ("max", "min", "median", "mean")

Numbers: TypeAlias = int | float | Tensor | Sequence[int] | Sequence[float]

_INFINITE = np.float64(inf).view(np.uint64)
"""Bits of infinity. As integers without a sign, those of finite numbers from 0.0 up are smaller, all others not."""

_LISTED = 10
"""Bad priorities that a message lists."""


def row_array(index: Numbers, capacity: int, component: str) -> NDArray[np.int64]:
    """Row numbers `[n]` from an integer, a sequence, or a tensor `[n, ...]` that repeats each along further dimensions.

    Raises:
        IndexError: not integers, or rows that there cannot be.
    """
    array = _array(index)
    if array.ndim != 1:
        array = array.reshape(1) if array.ndim == 0 else first_of_each(array)
    if array.dtype != np.int64:
        if array.dtype.kind not in "iu" and array.size:
            found = f"{array.dtype} {list(array.shape)}"
            raise IndexError(message(component, "row numbers", expected="integers [n]", found=found))
        array = array.astype(np.int64)
    bits = array.view(np.uint64)
    if array.size and bits[bits.argmax()] >= capacity:
        bad = array[(array < 0) | (array >= capacity)][:_LISTED].tolist()
        raise IndexError(message(component, "row numbers", expected=f"0 to {capacity - 1}", found=bad))
    return array


def priority_array(
    priority: Numbers, count: int, reduction: Reduction, component: str, rows: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Priorities `[count]`, each finite and not negative.

    Args:
        priority: a number for all rows, or `[count, ...]`; further dimensions are reduced.
        count: number of rows.
        reduction: what several priorities of one row amount to.
        component: who asks, for the message.
        rows: numbers `[count]` of the rows, for the message.
    Raises:
        ShapeError: another number of priorities than of rows.
        ValueError: negative, infinite or not a number; places and values are listed.
    """
    array = _array(priority)
    if array.ndim == 0:
        array = np.full(count, array, dtype=np.float64)
    elif len(array) != count:
        found = f"{len(array)} priorities of shape {list(array.shape)}"
        raise ShapeError(message(component, "priorities", expected=f"one for each of {count} rows", found=found))
    elif array.ndim > 1:
        array = _reduced(array.reshape(count, prod(array.shape[1:])), reduction)
    if array.dtype != np.float64:
        array = array.astype(np.float64)
    bits = array.view(np.uint64)
    if count and bits[bits.argmax()] >= _INFINITE and not ((array >= 0.0) & (array < inf)).all():
        raise _refusal(array, component, rows)
    return array


def row_stamps(stamp: Tensor) -> NDArray[np.int64]:
    """Stamps `[n]` from a tensor `[n, ...]` that repeats each along further dimensions."""
    array: NDArray[np.int64] = (stamp if stamp.is_cpu else stamp.cpu()).numpy()
    return array if array.ndim == 1 else first_of_each(array)


def first_of_each(array: NDArray[Any]) -> NDArray[Any]:
    """The first entry `[n]` of each part of `[n, ...]`."""
    while array.ndim > 1:
        array = array[:, 0]
    return array


def _array(values: Numbers) -> NDArray[Any]:
    if isinstance(values, Tensor):
        if values.requires_grad:
            values = values.detach()
        if values.dtype is torch.bfloat16:
            values = values.float()
        numbers: NDArray[Any] = (values if values.is_cpu else values.cpu()).numpy()
        return numbers
    return np.asarray(values)


def _reduced(array: NDArray[Any], reduction: Reduction) -> NDArray[Any]:
    if array.shape[1] == 1:
        return array[:, 0]
    out: NDArray[Any] = getattr(np, reduction)(array.astype(np.float64), axis=1)
    return out


def _refusal(array: NDArray[np.float64], component: str, rows: NDArray[np.int64] | None) -> ValueError:
    bad = np.flatnonzero(~((array >= 0.0) & (array < inf)))
    shown = [f"{array[at]} at {at}" + ("" if rows is None else f" (row {rows[at]})") for at in bad[:_LISTED]]
    listed = ", ".join(shown) + (f" and {bad.size - _LISTED} more" if bad.size > _LISTED else "")
    fix = "Nothing was changed. Give absolute values, and look for what made the error if they are not numbers"
    return ValueError(message(component, "priorities", expected="finite numbers >= 0", found=listed, fix=fix))
