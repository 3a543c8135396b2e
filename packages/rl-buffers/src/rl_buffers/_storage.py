"""What a storage is: a table of at most `max_size` rows, written and read by row number."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Size, Tensor

from rl_buffers._arguments import whole_number
from rl_buffers._checkpointer import Hook, StorageCheckpointerBase, checked
from rl_buffers._list_checkpointer import ListStorageCheckpointer
from rl_buffers._rows import FrozenRows, RowStore
from rl_buffers._storage_lock import StorageLock
from rl_specs import NestedKey

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


class SharedRing(ABC):
    """Numbers of a ring that live where its rows do, and the lock around both."""

    is_shared: bool
    """Whether other processes may write to the rows."""

    cursor: int
    """The row that the next write begins at."""

    written: int
    """Rows written by rings since the storage was made."""

    replaced: int
    """How often rows were replaced where they are."""

    clears: int
    """How often the rows were forgotten."""

    pending: int
    """Rows written since a buffer last set this to zero."""

    @property
    @abstractmethod
    def runs(self) -> list[int]:
        """What `written` was whenever another run of a program began to use the rows, as far as rows were there."""

    @abstractmethod
    def begin_run(self) -> None:
        """Another run of a program begins to use the rows: what it writes does not follow those that are there."""

    @abstractmethod
    def acquire(self) -> None:
        """Wait until no other process uses the rows."""

    @abstractmethod
    def release(self) -> None:
        """Let other processes use them."""


class Storage(RowStore):
    """A table of rows.

    Writing has two halves, so that data are refused before anything is written: `check` or `check_row` turns data
    into a `Block`, `write` puts (a part of) it somewhere.

    Args:
        max_size: capacity in rows.
        checkpointer: how rows become files; None for `ListStorageCheckpointer()`, which takes any rows.
    """

    def __init__(self, max_size: int, checkpointer: StorageCheckpointerBase | None = None) -> None:
        max_size = whole_number(type(self).__name__, "max_size", max_size, least=1)
        self._capacity = max_size
        self._max_size = max_size
        self._numbers: list[int] | memoryview[int] = [0]
        self._lock = StorageLock()
        self.checkpointer = checkpointer if checkpointer is not None else ListStorageCheckpointer()

    @property
    def max_size(self) -> int:
        """Capacity, in rows."""
        return self._max_size

    @property
    def lock(self) -> Any:  # threading.RLock is a function, not a type
        """What a thread holds while it uses the rows, a `threading.RLock`: buffers on one storage share it."""
        return self._lock.lock

    @property
    def checkpointer(self) -> StorageCheckpointerBase:
        """How rows become files, where `dumps` is not told; may be set.

        Raises:
            TypeError: it is no checkpointer, or one that cannot save such rows.
        """
        return self._checkpointer

    @checkpointer.setter
    def checkpointer(self, checkpointer: StorageCheckpointerBase) -> None:
        self._checkpointer = checked(type(self).__name__, checkpointer, self)

    def register_save_hook(self, hook: Hook) -> None:
        """Save what a callable makes of the rows; see `StorageCheckpointerBase.register_save_hook`.

        The hook belongs to the checkpointer that the storage has now.
        """
        self._checkpointer.register_save_hook(hook)

    def register_load_hook(self, hook: Hook) -> None:
        """Load what a callable makes of the rows saved; see `StorageCheckpointerBase.register_load_hook`.

        The hook belongs to the checkpointer that the storage has now.
        """
        self._checkpointer.register_load_hook(hook)

    def __len__(self) -> int:
        """Number of rows stored: rows `0` to `len - 1` can be read."""
        return self._numbers[0]

    @property
    def _length(self) -> int:
        return self._numbers[0]

    @_length.setter
    def _length(self, length: int) -> None:
        self._numbers[0] = length

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
        """As `check`, for a row without the dimension that counts rows; for one step of all lanes, if several."""

    def check_flat(self, rows: Any, component: str, *, is_single: bool = False) -> Block:
        """As `check`, for rows in the order of their numbers, `[n, ...]` whatever `ndim` is; `[...]` if `is_single`."""
        return self.check_row(rows, component) if is_single else self.check(rows, component)

    @abstractmethod
    def write(self, where: Where, block: Block, source: slice | None = None) -> None:
        """Copy a block in.

        Args:
            where: row number (for a block of one row without the dimension that counts rows), or range or int64 tensor
                of row numbers.
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

    @property
    def lane_shape(self) -> Size:
        """Batch dimensions before time: sequence `b` of row `t * lanes + b` in the order of this shape."""
        return Size()

    @property
    def ndim(self) -> int:
        """How many first dimensions of data count rows: 1 for `[T, ...]`, 2 for `[B, T, ...]`, time last."""
        return 1

    @property
    def ring(self) -> "SharedRing | None":
        """What is kept of the ring beside the rows, for storages that outlive a buffer or are shared by several."""
        return None

    def refresh(self) -> bool:
        """Catch up with what other processes did to the rows; whether they could have."""
        return False

    def clear(self) -> None:
        """Forget all rows; memory and layout stay."""
        self._length = 0

    @abstractmethod
    def freeze(self) -> FrozenRows:
        """The rows of now, to be saved while others are written; called under the lock of the buffer."""

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
        if stop > self._numbers[0]:
            self._numbers[0] = stop

    def _common_differences(self, state: dict[str, Any], kind: str) -> list[str]:
        found = []
        if state["kind"] != kind:
            found.append(f"storage: expected a {kind} storage, found a {state['kind']} storage")
        if state["max_size"] != self._capacity:
            found.append(f"capacity: expected {self._capacity} rows, found {state['max_size']}")
        return found
