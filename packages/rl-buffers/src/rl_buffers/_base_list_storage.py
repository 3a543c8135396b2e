"""What storages that keep rows in a Python list share."""

import sys
from abc import abstractmethod
from copy import copy
from typing import Any

import torch
from tensordict import is_tensor_collection
from torch import Tensor

from rl_buffers._checkpointer import StorageCheckpointerBase
from rl_buffers._frozen_list import FrozenList
from rl_buffers._storage import Block, Storage, Where
from rl_specs import NestedKey, SpecError, message, missing_key


class BaseListStorage(Storage):
    """Rows in a Python list, each of its own kind.

    Args:
        max_size: capacity in rows; None for no limit.
        checkpointer: how rows become files; None for `ListStorageCheckpointer()`.
    """

    def __init__(self, max_size: int | None, checkpointer: StorageCheckpointerBase | None = None) -> None:
        super().__init__(sys.maxsize if max_size is None else max_size, checkpointer)
        self._rows: list[Any] = []

    @abstractmethod
    def _encode(self, row: Any) -> Any:
        """What is kept of a row; it shares no tensor with the row."""

    @abstractmethod
    def _decode(self, stored: Any) -> Any:
        """A row from what is kept of it, of which it shares no tensor."""

    def _peek(self, stored: Any) -> Any:
        """As `_decode`, for a row that is only looked at."""
        return self._decode(stored)

    @property
    def device(self) -> torch.device:
        """The CPU: row numbers index a list."""
        return torch.device("cpu")

    def check(self, data: Any, component: str) -> Block:
        """See `Storage.check`; any rows are accepted."""
        rows = [self._encode(row) for row in split(data, component)]
        return Block(len(rows), rows)

    def check_row(self, row: Any, component: str) -> Block:
        """See `Storage.check_row`; any row is accepted."""
        return Block(1, [self._encode(row)])

    def write(self, where: Where, block: Block, source: slice | None = None) -> None:
        """See `Storage.write`."""
        rows = block.columns if source is None else block.columns[source]
        if isinstance(where, int):
            places: Any = (where,)
        else:
            places = range(where.start, where.stop) if isinstance(where, slice) else where.tolist()
        for place, row in zip(places, rows, strict=True):
            if place == len(self._rows):
                self._rows.append(row)
            else:
                self._rows.extend([None] * (place + 1 - len(self._rows)))
                self._rows[place] = row
            self._grow(place + 1)

    def _stored(self, index: Tensor | slice) -> list[Any]:
        return self._rows[index] if isinstance(index, slice) else [self._rows[place] for place in index.tolist()]

    def read(self, index: Tensor | slice) -> Any:
        """See `Storage.read`."""
        return self._gather([self._decode(stored) for stored in self._stored(index)])

    def _gather(self, rows: list[Any]) -> Any:
        """What `read` returns of rows."""
        return rows

    def read_row(self, index: int) -> Any:
        """See `Storage.read_row`."""
        return self._decode(self._rows[index])

    def read_entry(self, key: NestedKey, index: Tensor | slice) -> Tensor:
        """See `Storage.read_entry`; the entry is a tensor or a number in each of the rows, and of one shape."""
        return entry(type(self).__name__, key, [self._peek(stored) for stored in self._stored(index)])

    def block_entry(self, key: NestedKey, block: Block) -> Tensor:
        """See `Storage.block_entry`."""
        return entry(type(self).__name__, key, [self._peek(stored) for stored in block.columns])

    def freeze(self) -> FrozenList:
        """See `Storage.freeze`: another list of the same rows."""
        twin = copy(self)
        twin._rows, twin._numbers = self._rows.copy(), [self._length]
        return FrozenList(twin)

    def values(self) -> list[Any]:
        """See `Rows.values`."""
        return [self._decode(stored) for stored in self._rows]

    def clear(self) -> None:
        """Forget all rows and free them."""
        super().clear()
        self._rows = []

    def __repr__(self) -> str:
        size = None if self._max_size == sys.maxsize else self._max_size
        return f"{type(self).__name__}(max_size={size}, length={self._length})"


def copy_row(row: Any, device: torch.device | None = None) -> Any:
    """`row` with its tensors copied and detached, on `device` where one is given; other objects as they are."""
    if isinstance(row, Tensor) or is_tensor_collection(row):
        row = row.detach()
        return row.clone() if device is None or row.device == device else row.to(device)
    if isinstance(row, dict):
        return {key: copy_row(value, device) for key, value in row.items()}
    if type(row) in (list, tuple):
        return type(row)(copy_row(value, device) for value in row)
    return row


def split(data: Any, component: str) -> list[Any]:
    """Rows of a batch; a list is one of rows, but for a list of batches in a dict, which is a part of every row."""
    if isinstance(data, Tensor) or is_tensor_collection(data):
        if len(data.shape) == 0:
            raise SpecError(message(component, "the data are a single row", fix="Use add(row) for one row"))
        return list(data.unbind(0))
    if isinstance(data, dict):
        columns = {key: _split_entry(value, component) for key, value in data.items()}
        _assert_one_count(component, {key: len(column) for key, column in columns.items()})
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    try:
        return list(data)
    except TypeError as error:
        raise SpecError(
            message(component, "the data are not a batch", found=type(data).__name__, fix="Use add(row) for one row")
        ) from error


def _split_entry(value: Any, component: str) -> list[Any]:
    """The entry of each row."""
    if not (type(value) in (list, tuple) and value and all(map(_is_batch, value))):
        return split(value, component)
    columns = [_split_entry(part, component) for part in value]
    _assert_one_count(component, dict(enumerate(map(len, columns))))
    return [type(value)(parts) for parts in zip(*columns, strict=True)]


def _is_batch(value: Any) -> bool:
    """Whether a value is made of tensors that have a dimension of rows."""
    if isinstance(value, Tensor) or is_tensor_collection(value):
        return len(value.shape) > 0
    parts = value.values() if isinstance(value, dict) else value if type(value) in (list, tuple) else ()
    return bool(parts) and all(map(_is_batch, parts))


def _assert_one_count(component: str, counts: dict[Any, int]) -> None:
    if len(set(counts.values())) > 1:
        raise SpecError(message(component, f"the entries differ in their number of rows: {counts}"))


def entry(component: str, key: NestedKey, rows: list[Any]) -> Tensor:
    """One entry of several rows, stacked."""
    path = (key,) if isinstance(key, str) else tuple(key)
    values = []
    for row in rows:
        value = row
        for name in path:
            has = set(value.keys()) if isinstance(value, dict) or is_tensor_collection(value) else set()
            if name not in has:
                raise missing_key(component, key, has, fix="Store it with every row, or name another entry")
            value = value[name]
        values.append(torch.as_tensor(value))
    return torch.stack(values) if values else torch.empty(0)
