"""Whether a storage holds the rows of a state already."""

from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any, final

import torch
from torch import Tensor

from rl_buffers._checkpointer import StorageCheckpointerBase
from rl_buffers._chunks import Chunks
from rl_buffers._folder import read_rows
from rl_buffers._layout import Layout
from rl_buffers._raw import raw_bytes
from rl_buffers._rows import Column, TensorStore
from rl_buffers._storage import Storage
from rl_buffers._structure import Path


def has_rows(
    component: str,
    storage: Storage,
    state: dict[str, Any],
    folder: FilePath | None,
    readers: Sequence[StorageCheckpointerBase],
) -> bool:
    """Whether the rows of a tensor storage are those of a state, bit by bit; nothing is written.

    Args:
        component: who asks, for messages.
        storage: the storage.
        state: what a save says of it; found to fit, and its files whole.
        folder: with the rows; None where the state holds them.
        readers: read rows of their own formats.
    """
    if not isinstance(storage, TensorStore) or not 0 < len(storage) == state["length"]:
        return False
    compared = ComparedRows(storage)
    if folder is None:
        compared.load_state_dict(state)
    else:
        read_rows(component, compared, state, folder, readers)
    return compared.is_same


@final
class ComparedRows(TensorStore):
    """Takes rows to load, and compares them with those of a storage.

    Args:
        storage: with as many rows, and their layout.
    """

    def __init__(self, storage: TensorStore) -> None:
        self._storage = storage
        self._columns = storage.columns()
        self.is_same = True
        self._chunks = Chunks(len(storage), 1 << 12)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._storage)

    @property
    def chunks(self) -> Chunks:
        """Those of some storage: what is loaded here says nothing of what was saved."""
        return self._chunks

    @property
    def lanes(self) -> int:
        """See `TensorRows.lanes`."""
        return self._storage.lanes

    @property
    def is_alone(self) -> bool:
        """See `TensorRows.is_alone`."""
        return self._storage.is_alone

    def head(self) -> dict[str, Any]:
        """See `Rows.head`."""
        return self._storage.head()

    def state_dict(self) -> dict[str, Any]:
        """See `Rows.state_dict`."""
        return self._storage.state_dict()

    def values(self) -> Any:
        """See `Rows.values`."""
        return self._storage.values()

    def columns(self) -> dict[Path, Column]:
        """See `TensorRows.columns`."""
        return self._columns

    def done(self, stop: int) -> None:
        """See `TensorRows.done`."""

    def paths(self) -> list[Path]:
        """See `TensorStore.paths`."""
        return self._storage.paths()

    def begin_load(self, head: dict[str, Any]) -> None:
        """Nothing is forgotten."""

    def end_load(self) -> None:
        """Nothing was begun."""

    def put(self, path: Path, start: int, values: Tensor) -> None:
        """Compare with the rows that are there."""
        stop = start + len(values)
        if self.is_same:
            self.is_same = torch.equal(raw_bytes(self._columns[path][start:stop]), raw_bytes(values))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `RowStore.load_state_dict`."""
        layout = Layout.parse(state)
        assert layout is not None
        for path, column in zip(layout.paths(), state["columns"], strict=True):
            self.put(path, 0, column)
