"""What a storage is: a table of at most `max_size` rows, written and read by row number."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from rl_specs import NestedKey, message

Where: TypeAlias = int | slice | Tensor


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that a storage has checked and will accept.

    Args:
        count: number of rows.
        columns: what the storage made of them; only the storage that made the block looks inside.
    """

    count: int
    columns: list[Any]


class Storage(ABC):
    """A table of rows.

    Writing has two halves, so that data are refused before anything is written: `check` or `check_row` turns data
    into a `Block`, `write` puts (a part of) it somewhere.

    Args:
        max_size: capacity in rows.
    """

    def __init__(self, max_size: int) -> None:
        if not isinstance(max_size, int) or isinstance(max_size, bool) or max_size < 1:
            raise ValueError(message(type(self).__name__, "max_size", expected="an integer >= 1", found=repr(max_size)))
        self._max_size = max_size
        self._length = 0

    @property
    def max_size(self) -> int:
        """Capacity, in rows."""
        return self._max_size

    def __len__(self) -> int:
        """Number of rows stored: rows `0` to `len - 1` can be read."""
        return self._length

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where row numbers are best kept to read from this storage."""

    @property
    @abstractmethod
    def is_stacked(self) -> bool:
        """Whether `read` returns one value that holds all rows (True) or a list of rows."""

    @abstractmethod
    def check(self, data: Any, component: str) -> Block:
        """Rows of a batch, whose first dimension counts rows.

        Args:
            data: the batch.
            component: who asks, for the message.
        Raises:
            SpecError: keys, shapes or dtypes are not those of the rows already there (all differences listed).
        """

    @abstractmethod
    def check_row(self, row: Any, component: str) -> Block:
        """As `check`, for a single row without the dimension that counts rows."""

    @abstractmethod
    def write(self, where: Where, block: Block, source: slice | None = None) -> None:
        """Copy a block in.

        Args:
            where: row number (for a block from `check_row`), or range or int64 tensor of row numbers (from `check`).
            block: what `check` or `check_row` returned.
            source: which rows of the block; all of them when None.
        """

    @abstractmethod
    def read(self, index: Tensor | slice) -> Any:
        """Copy of the rows at `index`: int64 `[n]`, or a range with a step of one."""

    @abstractmethod
    def read_row(self, index: int) -> Any:
        """Copy of the row at `index`."""

    @abstractmethod
    def read_entry(self, key: NestedKey, index: Tensor | slice) -> Tensor:
        """One entry of some rows, for samplers and writers that decide by what is stored.

        Args:
            key: name or path of the entry.
            index: int64 `[n]` row numbers, or a range with a step of one.
        Returns:
            `[n, *row_shape]`; for a range perhaps a view of the storage, which is not to be written to.
        Raises:
            MissingKeyError: the rows have no such entry; those that they have are listed.
        """

    @abstractmethod
    def block_entry(self, key: NestedKey, block: Block) -> Tensor:
        """One entry `[n, *row_shape]` of rows that are not written yet; arguments and errors as for `read_entry`."""

    @property
    def lanes(self) -> int:
        """How many sequences are stored side by side: row `r + lanes` follows row `r` in time."""
        return 1

    def clear(self) -> None:
        """Forget all rows; memory and layout stay."""
        self._length = 0

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything stored, as tensors, numbers, strings, lists and dicts."""

    @abstractmethod
    def differences(self, state: dict[str, Any]) -> list[str]:
        """What in `state` does not fit this storage, one sentence each; empty when it can be loaded."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state in which `differences` found nothing."""

    def _grow(self, stop: int) -> None:
        if stop > self._length:
            self._length = stop

    def _common_differences(self, state: dict[str, Any], kind: str) -> list[str]:
        found = []
        if state["kind"] != kind:
            found.append(f"storage: expected a {kind} storage, found a {state['kind']} storage")
        if state["max_size"] != self._max_size:
            found.append(f"capacity: expected {self._max_size} rows, found {state['max_size']}")
        return found
