"""Rows as checkpointers see them: those of a storage, or of a moment of one."""

from abc import ABC, abstractmethod
from typing import Any, Protocol

import torch
from torch import Size, Tensor

from rl_buffers._chunks import Chunks
from rl_buffers._structure import Path


class Rows(ABC):
    """Rows that can be saved."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of rows."""

    @abstractmethod
    def head(self) -> dict[str, Any]:
        """The state but for the rows: kind, capacity, number of rows, how they are made."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """The head and all rows, as tensors, numbers, strings, lists and dicts."""

    @abstractmethod
    def values(self) -> Any:
        """Copy of all rows in the order of their numbers: one value `[n, ...]` on the CPU, or a list of rows."""


class FrozenRows(Rows):
    """The rows of one moment, whatever is written to the storage afterwards; of use until `release`."""

    @property
    @abstractmethod
    def copied(self) -> int:
        """How many rows were copied in memory for that so far."""

    @abstractmethod
    def release(self) -> None:
        """They are not needed any more: free the copies."""


class RowStore(Rows):
    """Rows that can be saved and loaded."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state that was found to fit."""


class Column(Protocol):
    """One entry of all rows, `[n, *row_shape]`, which is only read: a tensor, or what gives tensors."""

    @property
    def shape(self) -> Size:
        """`[n, *row_shape]`."""

    @property
    def dtype(self) -> torch.dtype:
        """That of the tensor."""

    def __getitem__(self, index: slice | Tensor, /) -> Tensor:
        """The entry of some rows."""


class TensorRows(Rows):
    """Rows kept in tensors."""

    @property
    @abstractmethod
    def chunks(self) -> Chunks:
        """Which rows were written since when."""

    @property
    @abstractmethod
    def lanes(self) -> int:
        """Row `r + lanes` follows row `r` in time."""

    @property
    @abstractmethod
    def is_alone(self) -> bool:
        """Whether all writes pass through this object, so that `chunks` knows of them."""

    @abstractmethod
    def columns(self) -> dict[Path, Column]:
        """Every entry of the rows."""

    @abstractmethod
    def done(self, stop: int) -> None:
        """Rows before `stop` were read for the last time."""


class TensorStore(TensorRows, RowStore):
    """Rows kept in tensors that can be loaded entry by entry."""

    @abstractmethod
    def paths(self) -> list[Path]:
        """Path of every entry of a row."""

    @abstractmethod
    def begin_load(self, head: dict[str, Any]) -> None:
        """Take over the layout of a state, without its rows, and forget all rows.

        Raises:
            OSError: the disk has no room for the rows of the state; nothing was changed.
        """

    @abstractmethod
    def end_load(self) -> None:
        """All rows of the state were put."""

    @abstractmethod
    def put(self, path: Path, start: int, values: Tensor) -> None:
        """Write one entry `[n, *row_shape]` of rows from `start`; the rows are whole once all entries were put."""
