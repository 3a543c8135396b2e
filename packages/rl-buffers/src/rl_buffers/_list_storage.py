"""A storage that keeps rows in a list, whatever they are."""

from typing import Any, final

import torch

from rl_buffers._base_list_storage import BaseListStorage, copy_row
from rl_buffers._checkpointer import StorageCheckpointerBase
from rl_buffers._lazy_tensor_storage import resolved
from rl_buffers._plain_rows import describe_rows, parse_rows


@final
class ListStorage(BaseListStorage):
    """Rows of any kind, in a Python list; each may differ from the others.

    Tensors, TensorDicts and containers of these are copied when stored and when read, without gradient; other objects
    are kept as they are.
    A batch to store is a tensor or TensorDict whose first dimension counts rows, a dict of such, or any iterable of
    rows. A batch that is read is a list of rows, for the buffer's `collate_fn`.

    Args:
        max_size: capacity in rows; None for no limit.
        device: where tensors are kept; None for where they are.
        checkpointer: how rows become files; None for `ListStorageCheckpointer()`.
    """

    def __init__(
        self,
        max_size: int | None = None,
        *,
        device: torch.device | str | None = None,
        checkpointer: StorageCheckpointerBase | None = None,
    ) -> None:
        super().__init__(max_size, checkpointer)
        self._to = None if device is None else resolved(device)

    @property
    def is_stacked(self) -> bool:
        """False: a batch is a list of rows."""
        return False

    def _encode(self, row: Any) -> Any:
        return copy_row(row, self._to)

    def _decode(self, stored: Any) -> Any:
        return copy_row(stored)

    def _peek(self, stored: Any) -> Any:
        return stored

    def head(self) -> dict[str, Any]:
        """See `Rows.head`."""
        return {"kind": "list", "max_size": self._capacity, "length": self._length}

    def state_dict(self) -> dict[str, Any]:
        """Rows, as the leaves of each; rows made alike share one description."""
        return {**self.head(), **describe_rows(self._rows)}

    def differences(self, state: dict[str, Any]) -> list[str]:
        """See `Storage.differences`: kind and capacity."""
        return self._common_differences(state, "list")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Storage.load_state_dict`."""
        self._rows = [copy_row(row, self._to) for row in parse_rows(state)]
        self._length = len(self._rows)
