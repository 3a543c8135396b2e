"""Storages that keep each entry of the rows in one tensor."""

from abc import abstractmethod
from typing import Any, final

import torch
from torch import Size, Tensor

from rl_buffers._layout import inferred, leaf_paths, outline, outline_differences, stack_rows
from rl_buffers._storage import Block, Storage, Where
from rl_buffers._structure import Path, Structure, parse
from rl_specs import SpecError, message


class BaseTensorStorage(Storage):
    """One tensor `[max_size, *row_shape]` for each entry of the rows.

    The nesting of the first data is flattened once into a list of columns; writes and reads follow that list. Rows are
    values of any nesting of TensorDicts, tensorclasses, dicts, lists and tuples of tensors; a list at the root
    given to `check` is a list of rows. Data on another device are moved. What is read is a copy, without gradient.

    Args:
        max_size: capacity in rows.
        device: where the columns live; None for the device of the first data.
    """

    def __init__(self, max_size: int, device: torch.device | None) -> None:
        super().__init__(max_size)
        self._device = device
        self._structure: Structure | None = None
        self._columns: list[Tensor] = []
        self._row_shapes: list[Size] = []
        self._dtypes: list[torch.dtype] = []

    @abstractmethod
    def _allocate(self, path: Path, row_shape: Size, dtype: torch.dtype, device: torch.device) -> Tensor:
        """An uninitialised column `[max_size, *row_shape]` for the entry at `path`."""

    @property
    def device(self) -> torch.device:
        """Where the columns live."""
        return self._device if self._device is not None else torch.device("cpu")

    @property
    def is_stacked(self) -> bool:
        """True: a batch is one value."""
        return True

    def check(self, data: Any, component: str) -> Block:
        """See `Storage.check`; the first data decide the layout."""
        if type(data) is list:
            data = stack_rows(data, component)
        return self._check(data, component, lead_dims=1)

    def check_row(self, row: Any, component: str) -> Block:
        """See `Storage.check_row`."""
        return self._check(row, component, lead_dims=0)

    def _check(self, data: Any, component: str, lead_dims: int) -> Block:
        if self._structure is None:
            self._set_layout(data, component, lead_dims)
        assert self._structure is not None
        leaves: list[Tensor] = []
        is_same = self._structure.flatten(data, leaves)
        lead = leaves[0].shape[:lead_dims] if leaves else Size()
        if is_same:
            for leaf, row_shape, dtype in zip(leaves, self._row_shapes, self._dtypes, strict=True):
                if leaf.dtype is not dtype or leaf.shape != lead + row_shape:
                    is_same = False
                    break
        if not is_same or len(lead) != lead_dims:
            raise self._refusal(data, component, lead_dims)
        return Block(lead[0] if lead_dims else 1, leaves)

    def _set_layout(self, data: Any, component: str, lead_dims: int) -> None:
        structure, leaves = inferred(data, component, lead_dims)
        row_shapes = [leaf.shape[lead_dims:] for leaf in leaves]
        self._adopt(structure, row_shapes, [leaf.dtype for leaf in leaves], leaves[0].device)

    def _adopt(
        self, structure: Structure, row_shapes: list[Size], dtypes: list[torch.dtype], device: torch.device
    ) -> None:
        if self._device is None:
            self._device = device
        paths = leaf_paths(structure, len(row_shapes))
        with torch.inference_mode(False):
            columns = [
                self._allocate(path, shape, dtype, self._device)
                for path, shape, dtype in zip(paths, row_shapes, dtypes, strict=True)
            ]
        self._structure, self._columns, self._row_shapes, self._dtypes = structure, columns, row_shapes, dtypes

    def _outline(self) -> dict[Path, str]:
        assert self._structure is not None
        return outline(self._structure, self._row_shapes, self._dtypes)

    def _refusal(self, data: Any, component: str, lead_dims: int) -> SpecError:
        structure, leaves = inferred(data, component, lead_dims)
        found = outline(structure, [leaf.shape[lead_dims:] for leaf in leaves], [leaf.dtype for leaf in leaves])
        differences = outline_differences(self._outline(), found)
        return SpecError(
            message(
                component,
                "the data differ from the rows stored: " + "; ".join(differences),
                fix="Nothing was written. Give every row the entries of the first, or use another buffer for these",
            )
        )

    def write(self, where: Where, block: Block, source: slice | None = None) -> None:
        """See `Storage.write`; ranges are plain copies, without an index."""
        with torch.no_grad():
            if source is None:
                for column, values in zip(self._columns, block.columns, strict=True):
                    column[where] = values
            else:
                for column, values in zip(self._columns, block.columns, strict=True):
                    column[where] = values[source]
        if isinstance(where, int):
            self._grow(where + 1)
        elif isinstance(where, slice):
            self._grow(where.stop)
        elif where.numel():
            self._grow(int(where.max()) + 1)

    def read(self, index: Tensor | slice) -> Any:
        """See `Storage.read`."""
        if self._structure is None:
            raise RuntimeError(message(type(self).__name__, "nothing was ever stored", fix="Call extend or add first"))
        if isinstance(index, slice):
            rows = [column[index].clone() for column in self._columns]
            count = index.stop - index.start
        else:
            if index.device != self._columns[0].device:
                index = index.to(self._columns[0].device)
            rows = [torch.index_select(column, 0, index) for column in self._columns]
            count = index.numel()
        return self._structure.build(iter(rows), (count,), self._device)

    def read_row(self, index: int) -> Any:
        """See `Storage.read_row`."""
        if self._structure is None:
            raise RuntimeError(message(type(self).__name__, "nothing was ever stored", fix="Call extend or add first"))
        return self._structure.build((column[index].clone() for column in self._columns), (), self._device)

    def state_dict(self) -> dict[str, Any]:
        """Rows stored (not the unused part of the columns) and the layout."""
        layout = None if self._structure is None else self._structure.describe()
        columns = [column[: self._length].to("cpu", copy=True) for column in self._columns]
        return {
            "kind": "tensor",
            "max_size": self._max_size,
            "length": self._length,
            "layout": layout,
            "columns": columns,
        }

    def differences(self, state: dict[str, Any]) -> list[str]:
        """See `Storage.differences`: kind, capacity, keys, shapes, dtypes."""
        found = self._common_differences(state, "tensor")
        if not found and self._structure is not None and state["layout"] is not None:
            columns = state["columns"]
            saved = outline(parse(state["layout"]), [c.shape[1:] for c in columns], [c.dtype for c in columns])
            found.extend(outline_differences(self._outline(), saved))
        return found

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Storage.load_state_dict`; a storage without rows takes the layout of the state."""
        columns: list[Tensor] = state["columns"]
        length: int = state["length"]
        if state["layout"] is None:
            self._length = 0
            return
        structure = parse(state["layout"])
        if self._structure is None:
            row_shapes = [column.shape[1:] for column in columns]
            self._adopt(structure, row_shapes, [column.dtype for column in columns], columns[0].device)
        saved = dict(zip(leaf_paths(structure, len(columns)), columns, strict=True))
        assert self._structure is not None
        with torch.no_grad():
            for path, column in zip(leaf_paths(self._structure, len(columns)), self._columns, strict=True):
                column[:length] = saved[path]
        self._length = length


@final
class LazyTensorStorage(BaseTensorStorage):
    """Tensors in memory, allocated when the first data arrive, with their keys, shapes and dtypes.

    Args:
        max_size: capacity in rows.
        device: where the rows are kept; `"auto"` for the device of the first data.
    """

    def __init__(self, max_size: int, *, device: torch.device | str = "cpu") -> None:
        super().__init__(max_size, None if device == "auto" else torch.empty(0, device=device).device)

    def _allocate(self, path: Path, row_shape: Size, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty((self._max_size, *row_shape), dtype=dtype, device=device)

    def __repr__(self) -> str:
        return f"LazyTensorStorage(max_size={self._max_size}, length={self._length}, device={self.device})"


@final
class TensorStorage(BaseTensorStorage):
    """A storage that starts with a copy of given rows.

    Args:
        data: batch whose first dimension counts rows; all of it is stored.
        max_size: capacity in rows; None for as many as `data` has.
        device: where the rows are kept; None for where `data` is.
    """

    def __init__(self, data: Any, *, max_size: int | None = None, device: torch.device | str | None = None) -> None:
        _, leaves = inferred(data, "TensorStorage", lead_dims=1)
        count = leaves[0].shape[0]
        super().__init__(count if max_size is None else max_size, None if device is None else torch.device(device))
        if count > self._max_size:
            raise ValueError(
                message(
                    "TensorStorage", "max_size", expected=f"at least the {count} rows of data", found=self._max_size
                )
            )
        self.write(slice(0, count), self.check(data, "TensorStorage"))

    def _allocate(self, path: Path, row_shape: Size, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty((self._max_size, *row_shape), dtype=dtype, device=device)

    def __repr__(self) -> str:
        return f"TensorStorage(max_size={self._max_size}, length={self._length}, device={self.device})"
