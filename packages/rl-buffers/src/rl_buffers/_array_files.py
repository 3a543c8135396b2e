"""Arrays in `.npy` files, which any tool that knows NumPy reads, written and read in pieces."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_FOREIGN = (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)


def stored_form(dtype: torch.dtype, shape: tuple[int, ...]) -> tuple["np.dtype[Any]", tuple[int, ...]]:
    """How values are stored: as they are, or as bytes along a further dimension where NumPy has no such type."""
    if dtype in _FOREIGN:
        return np.dtype(np.uint8), (*shape, dtype.itemsize)
    return torch.empty(0, dtype=dtype).numpy().dtype, shape


def to_stored(values: Tensor) -> "np.ndarray[Any, Any]":
    """Values as an array of the form in which they are stored."""
    values = values.detach().cpu().contiguous()
    if values.dtype in _FOREIGN:
        values = values.unsqueeze(-1).view(torch.uint8)
    return values.numpy()


def from_stored(array: "np.ndarray[Any, Any]", dtype: torch.dtype) -> Tensor:
    """A tensor of its own from an array as it was stored."""
    values = torch.from_numpy(np.array(array))
    return values.view(dtype).squeeze(-1) if dtype in _FOREIGN else values


def write_array(path: Path, dtype: torch.dtype, shape: tuple[int, ...], parts: Iterator[Tensor]) -> None:
    """Write values that come in pieces."""
    form, stored_shape = stored_form(dtype, shape)
    header = {"descr": np.lib.format.dtype_to_descr(form), "fortran_order": False, "shape": stored_shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(to_stored(part)).tobytes())


def open_array(path: Path) -> "np.ndarray[Any, Any]":
    """The array in a file, of which only what is looked at is read."""
    array: np.ndarray[Any, Any] = np.load(path, mmap_mode="r" if path.stat().st_size else None, allow_pickle=False)
    return array
