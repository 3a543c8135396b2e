"""Entries of rows in files, whose reader says what it touched."""

from typing import final

import torch
from torch import Size, Tensor

from rl_buffers._pager import Pager


@final
class PagedColumn:
    """One entry of rows `[n, *row_shape]`.

    Args:
        view: of a table in files.
        pager: of these files.
    """

    __slots__ = ("_pager", "_row_bytes", "_view")

    def __init__(self, view: Tensor, pager: Pager) -> None:
        self._view = view
        self._pager = pager
        self._row_bytes = view.shape[1:].numel() * view.dtype.itemsize

    @property
    def shape(self) -> Size:
        """See `Column.shape`."""
        return self._view.shape

    @property
    def dtype(self) -> torch.dtype:
        """See `Column.dtype`."""
        return self._view.dtype

    def __getitem__(self, index: slice | Tensor, /) -> Tensor:
        """See `Column.__getitem__`; a view for a range."""
        rows = self._view[index]
        self._pager.after_scan(len(rows) * self._row_bytes)
        return rows
