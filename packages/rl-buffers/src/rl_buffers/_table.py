"""Tables that hold several entries of a row side by side.

A batch drawn at random from a large buffer costs one cache miss for each row of each tensor it is gathered from. Small
entries of the same dtype therefore share one tensor `[max_size, width]`: one gather and one split serve them all.
Entries with large rows, images say, have a table to themselves.
"""

from collections.abc import Sequence
from math import prod
from typing import final

import torch
from torch import Size, Tensor

from rl_buffers._storage import Where

_LARGEST_SHARED_ROW = 1024
"""Bytes; an entry with more in one row has a table to itself."""


@final
class Table:
    """Entries of one dtype.

    Args:
        members: positions of the entries among the leaves of a row.
        row_shapes: shape of each member in one row.
        data: `[max_size, width]`, where width is the sum of the members' sizes.
    """

    __slots__ = ("_data", "_members", "_row_shapes", "_sizes")

    def __init__(self, members: list[int], row_shapes: list[Size], data: Tensor) -> None:
        self._members = members
        self._row_shapes = row_shapes
        self._sizes = [prod(shape) for shape in row_shapes]
        self._data = data

    def write(self, where: Where, leaves: list[Tensor], source: slice | None) -> None:
        """Copy rows in, or one row when `where` is an integer.

        Args:
            where: see `Storage.write`.
            leaves: all leaves of the rows, each `[n, size]` (`[size]` for one row).
            source: which of the rows; None for all.
        """
        parts = [leaves[member] for member in self._members]
        if source is not None:
            parts = [part[source] for part in parts]
        if len(parts) == 1:
            self._data[where] = parts[0]
        elif isinstance(where, int):
            torch.cat(parts, 0, out=self._data[where])
        elif isinstance(where, slice):
            torch.cat(parts, 1, out=self._data[where])
        else:
            self._data[where] = torch.cat(parts, 1)

    def read(self, index: Tensor | slice, leaves: list[Tensor]) -> None:
        """Put copies of rows, `[n, *row_shape]`, at the members' positions of `leaves`."""
        if isinstance(index, slice):
            rows = self._data[index].clone()
        else:
            rows = torch.index_select(self._data, 0, index)
        count = rows.shape[0]
        parts = (rows,) if len(self._members) == 1 else _split_copy(rows, self._sizes)
        for member, shape, part in zip(self._members, self._row_shapes, parts, strict=True):
            leaves[member] = part if len(shape) == 1 else part.view(count, *shape)

    def columns(self, leaves: list[Tensor]) -> None:
        """Put views of all rows, `[max_size, *row_shape]`, at the members' positions of `leaves`."""
        parts = self._data.split_with_sizes(self._sizes, 1)
        for member, shape, part in zip(self._members, self._row_shapes, parts, strict=True):
            leaves[member] = part.view(part.shape[0], *shape)


def _split_copy(rows: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
    parts: tuple[Tensor, ...] = torch.split_with_sizes_copy(rows, sizes, 1)  # type: ignore[func-returns-value,assignment]  # torch's stub knows only the form with out=
    return parts


def group(row_shapes: Sequence[Size], dtypes: Sequence[torch.dtype]) -> list[list[int]]:
    """Positions of the entries that share a table, one list for each table."""
    shared: dict[torch.dtype, list[int]] = {}
    groups = []
    for position, (shape, dtype) in enumerate(zip(row_shapes, dtypes, strict=True)):
        if prod(shape) * dtype.itemsize > _LARGEST_SHARED_ROW:
            groups.append([position])
        elif dtype in shared:
            shared[dtype].append(position)
        else:
            shared[dtype] = [position]
            groups.append(shared[dtype])
    return groups
