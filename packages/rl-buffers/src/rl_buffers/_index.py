"""Row numbers from what a user writes between brackets."""

from collections.abc import Sequence
from types import EllipsisType
from typing import Any, TypeAlias

import torch
from torch import Tensor

from rl_buffers._storage import Storage
from rl_specs import message

Index: TypeAlias = int | slice | Tensor | Sequence[int] | Sequence[bool] | tuple[Any, ...] | EllipsisType

_KINDS = "an integer, a range, a mask [len] or integers [n]"


def is_all(index: Index) -> bool:
    """Whether `index` is `:` or `...`."""
    return index is Ellipsis or (isinstance(index, slice) and index == slice(None))


def grid_numbers(index: Index, storage: Storage, component: str) -> Tensor | None:
    """Row numbers of `buffer[:]` and `buffer[..., 3:5]`, which take rows of lanes as `[*B, T]`; None for others.

    Args:
        index: what stands between the brackets.
        storage: where the rows are.
        component: who asks, for the message.
    Raises:
        IndexError: the grid has no such element.
    """
    if storage.ndim == 1 or not (is_all(index) or isinstance(index, tuple)):
        return None
    grid = torch.arange(len(storage)).reshape(-1, *storage.lane_shape).movedim(0, -1)
    try:
        return grid[index]
    except (IndexError, TypeError) as error:
        shape = list(grid.shape)
        raise IndexError(message(component, f"{error}", expected=f"an index of rows [*B, T] {shape}")) from error


def row_numbers(index: Index, length: int, component: str) -> int | slice | Tensor:
    """`index` as numbers of rows: an integer, a range with a step of one, or int64 `[n]`; all from 0 to `length - 1`.

    Args:
        index: integer, range, `...`, mask `[length]` or integers `[n]`; negative ones count from the end.
        length: number of rows.
        component: who asks, for the message.
    Raises:
        IndexError: rows that are not there, or no such kind of index.
    """
    if isinstance(index, int) and not isinstance(index, bool):
        if not -length <= index < length:
            raise IndexError(message(component, f"row {index}", expected=f"one of the {length} rows stored"))
        return index % length
    if isinstance(index, slice):
        start, stop, step = index.indices(length)
        if step == 1:
            return slice(start, max(start, stop))
        return torch.arange(length)[list(range(start, stop, step))]
    if index is Ellipsis:
        return slice(0, length)
    numbers = _numbers(index, component)
    if numbers.ndim == 0 and not numbers.is_floating_point() and numbers.dtype is not torch.bool:
        return row_numbers(int(numbers), length, component)
    if numbers.dtype is torch.bool:
        if numbers.shape != (length,):
            raise IndexError(message(component, "shape of the mask", expected=[length], found=list(numbers.shape)))
        return numbers.nonzero().squeeze(-1)
    if numbers.ndim != 1 or numbers.is_floating_point() or numbers.is_complex():
        found = f"{numbers.dtype} {list(numbers.shape)}"
        raise IndexError(message(component, "row numbers", expected=_KINDS, found=found))
    numbers = numbers.long()
    if numbers.numel() and not (-length <= int(numbers.min()) and int(numbers.max()) < length):
        raise IndexError(message(component, "row numbers", expected=f"within the {length} rows stored", found=numbers))
    return numbers.remainder(length) if length else numbers


def _numbers(index: Any, component: str) -> Tensor:
    """`index` as a tensor; of no numbers whose kind is not known, as int64 `[0]`."""
    try:
        numbers = torch.as_tensor(index)
    except (TypeError, ValueError, RuntimeError) as error:
        fix = "Entries are read from rows: buffer[:][key]"
        raise IndexError(message(component, f"no row {index!r}", expected=_KINDS, fix=fix)) from error
    is_nothing = numbers.shape == (0,) and numbers.dtype is not torch.bool
    return numbers.long() if is_nothing else numbers
