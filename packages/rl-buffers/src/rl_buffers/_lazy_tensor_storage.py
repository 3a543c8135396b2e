"""Tensor storages in the memory of a device."""

from typing import Any, final

import torch
from torch import Tensor

from rl_buffers._checkpointer import StorageCheckpointerBase
from rl_buffers._layout import inferred
from rl_buffers._tensor_storage import BaseTensorStorage
from rl_specs import message


def resolved(device: torch.device | str) -> torch.device:
    """`device` with its number, as tensors report it."""
    return torch.empty(0, device=device).device


@final
class LazyTensorStorage(BaseTensorStorage):
    """Tensors in memory, allocated when the first data arrive, with their keys, shapes and dtypes.

    Args:
        max_size: capacity in rows.
        device: where the rows are kept; `"auto"` for the device of the first data.
        ndim: how many first dimensions of data count rows: 2 for `[B, T, ...]`, time last.
        checkpointer: how rows become files; None for `TensorStorageCheckpointer()`.
    """

    def __init__(
        self,
        max_size: int,
        *,
        device: torch.device | str = "cpu",
        ndim: int = 1,
        checkpointer: StorageCheckpointerBase | None = None,
    ) -> None:
        super().__init__(max_size, None if device == "auto" else resolved(device), ndim=ndim, checkpointer=checkpointer)

    def _allocate(self, number: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(self._max_size, width, dtype=dtype, device=device)

    def __repr__(self) -> str:
        return f"LazyTensorStorage(max_size={self._max_size}, length={self._length}, device={self.device})"


@final
class TensorStorage(BaseTensorStorage):
    """A storage that starts with a copy of given rows.

    Args:
        data: batch whose first dimension counts rows, or `[*B, T, ...]` with `ndim` > 1; all of it is stored.
        max_size: capacity in rows; None for as many as `data` has.
        device: where the rows are kept; None for where `data` is.
        ndim: how many first dimensions of data count rows.
        checkpointer: how rows become files; None for `TensorStorageCheckpointer()`.
    """

    def __init__(
        self,
        data: Any,
        *,
        max_size: int | None = None,
        device: torch.device | str | None = None,
        ndim: int = 1,
        checkpointer: StorageCheckpointerBase | None = None,
    ) -> None:
        _, leaves = inferred(data, "TensorStorage", lead_dims=ndim)
        count = leaves[0].shape[:ndim].numel()
        capacity = count if max_size is None else max_size
        super().__init__(capacity, None if device is None else resolved(device), ndim=ndim, checkpointer=checkpointer)
        block = self.check(data, "TensorStorage")
        if count > self._max_size:
            expected = f"at least the {count} rows of data"
            raise ValueError(message("TensorStorage", "max_size", expected=expected, found=self._max_size))
        self.write(slice(0, count), block)

    def _allocate(self, number: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(self._max_size, width, dtype=dtype, device=device)

    def __repr__(self) -> str:
        return f"TensorStorage(max_size={self._max_size}, length={self._length}, device={self.device})"
