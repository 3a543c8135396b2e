"""Storages that keep rows in tensors."""

from abc import abstractmethod
from math import prod
from typing import Any, final

import torch
from torch import Size, Tensor

from rl_buffers._layout import inferred, leaf_paths, outline, outline_differences, path_str, stack_rows
from rl_buffers._storage import Block, Storage, Where
from rl_buffers._structure import Path, Structure, parse
from rl_buffers._table import Table, group
from rl_specs import DeviceError, NestedKey, SpecError, message, missing_key

_NOTHING = torch.empty(0)


class BaseTensorStorage(Storage):
    """Rows in preallocated tensors.

    The nesting of the first data is flattened once into a list of leaves, and those are laid out in tables (see
    `rl_buffers._table`); writes and reads follow that plan. Rows are values of any nesting of TensorDicts,
    tensorclasses, dicts, lists and tuples of tensors; a list at the root given to `check` is a list of rows. Data on
    another device are moved. What is read is a contiguous copy, without gradient.

    Args:
        max_size: capacity in rows.
        device: where the tables live; None for the device of the first data.
    """

    def __init__(self, max_size: int, device: torch.device | None) -> None:
        super().__init__(max_size)
        self._device = device
        self._structure: Structure | None = None
        self._tables: list[Table] = []
        self._row_shapes: list[Size] = []
        self._dtypes: list[torch.dtype] = []
        self._entries: dict[Path, int] = {}
        self._views: list[Tensor] = []

    @abstractmethod
    def _allocate(self, number: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """An uninitialised contiguous tensor `[max_size, width]` for table `number`."""

    @property
    def device(self) -> torch.device:
        """Where the tables live; the CPU as long as that is not decided."""
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
        if not self._structure.flatten(data, leaves):
            raise self._refusal(data, component, lead_dims)
        lead = leaves[0].shape[:lead_dims]
        device = self._device
        for position, (row_shape, dtype) in enumerate(zip(self._row_shapes, self._dtypes, strict=True)):
            leaf = leaves[position]
            if leaf.dtype is not dtype or leaf.shape != lead + row_shape or len(lead) != lead_dims:
                raise self._refusal(data, component, lead_dims)
            if len(row_shape) != 1:
                leaf = leaves[position] = leaf.reshape(*lead, prod(row_shape))
            if leaf.device != device:
                if leaf.is_meta:
                    raise self._no_data(component, position)
                leaves[position] = leaf.to(device)
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
        tables = []
        with torch.inference_mode(False):
            for number, members in enumerate(group(row_shapes, dtypes)):
                shapes = [row_shapes[member] for member in members]
                width = sum(prod(shape) for shape in shapes)
                tables.append(Table(members, shapes, self._allocate(number, width, dtypes[members[0]], self._device)))
        self._structure, self._tables, self._row_shapes, self._dtypes = structure, tables, row_shapes, dtypes
        self._entries = {path: position for position, path in enumerate(leaf_paths(structure, len(dtypes)))}
        self._views = self._columns()

    def _columns(self) -> list[Tensor]:
        """Every leaf of all rows, `[max_size, *row_shape]`, as views of the tables."""
        columns = [_NOTHING] * len(self._row_shapes)
        for table in self._tables:
            table.columns(columns)
        return columns

    def _position(self, key: NestedKey) -> int:
        """Which leaf of a row an entry is."""
        self._known_structure()
        position = self._entries.get((key,) if isinstance(key, str) else tuple(key))
        if position is None:
            paths: list[NestedKey] = [path[0] if len(path) == 1 else path for path in self._entries if path]
            raise missing_key(type(self).__name__, key, paths, fix="Store it with every row, or name another entry")
        return position

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

    def _no_data(self, component: str, position: int) -> DeviceError:
        assert self._structure is not None
        path = leaf_paths(self._structure, len(self._dtypes))[position]
        fix = "Make the tensors on a device that holds data"
        problem = f"{path_str(path)} holds no data"
        return DeviceError(message(component, problem, expected=self._device, found="meta", fix=fix))

    def write(self, where: Where, block: Block, source: slice | None = None) -> None:
        """See `Storage.write`; ranges are plain copies, without an index."""
        with torch.no_grad():
            for table in self._tables:
                table.write(where, block.columns, source)
        if isinstance(where, int):
            self._grow(where + 1)
        elif isinstance(where, slice):
            self._grow(where.stop)
        elif where.numel():
            self._grow(int(where.max()) + 1)

    def read(self, index: Tensor | slice) -> Any:
        """See `Storage.read`."""
        structure = self._known_structure()
        leaves = [_NOTHING] * len(self._row_shapes)
        if isinstance(index, slice):
            count = index.stop - index.start
        else:
            count = index.numel()
            if index.device != self._device:
                index = index.to(self._device)
        for table in self._tables:
            table.read(index, leaves)
        return structure.build(iter(leaves), (count,), self._device)

    def read_row(self, index: int) -> Any:
        """See `Storage.read_row`."""
        structure = self._known_structure()
        leaves = [_NOTHING] * len(self._row_shapes)
        for table in self._tables:
            table.read(slice(index, index + 1), leaves)
        return structure.build((leaf.squeeze(0) for leaf in leaves), (), self._device)

    def read_entry(self, key: NestedKey, index: Tensor | slice) -> Tensor:
        """See `Storage.read_entry`."""
        view = self._views[self._position(key)]
        return view[index] if isinstance(index, slice) else torch.index_select(view, 0, index.to(view.device))

    def block_entry(self, key: NestedKey, block: Block) -> Tensor:
        """See `Storage.block_entry`."""
        position = self._position(key)
        leaf: Tensor = block.columns[position]
        return leaf.view(block.count, *self._row_shapes[position])

    def _known_structure(self) -> Structure:
        if self._structure is None:
            raise RuntimeError(message(type(self).__name__, "nothing was ever stored", fix="Call extend or add first"))
        return self._structure

    def state_dict(self) -> dict[str, Any]:
        """Rows stored (not the unused part of the tables), entry by entry, and the layout."""
        layout = None if self._structure is None else self._structure.describe()
        rows = (view[: self._length] for view in self._views)
        return {
            "kind": "tensor",
            "max_size": self._max_size,
            "length": self._length,
            "layout": layout,
            "columns": [row.clone(memory_format=torch.contiguous_format).cpu() for row in rows],
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
            for path, column in zip(self._entries, self._views, strict=True):
                column[:length] = saved[path]
        self._length = length


def _resolved(device: torch.device | str) -> torch.device:
    """`device` with its number, as tensors report it."""
    return torch.empty(0, device=device).device


@final
class LazyTensorStorage(BaseTensorStorage):
    """Tensors in memory, allocated when the first data arrive, with their keys, shapes and dtypes.

    Args:
        max_size: capacity in rows.
        device: where the rows are kept; `"auto"` for the device of the first data.
    """

    def __init__(self, max_size: int, *, device: torch.device | str = "cpu") -> None:
        super().__init__(max_size, None if device == "auto" else _resolved(device))

    def _allocate(self, number: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(self._max_size, width, dtype=dtype, device=device)

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
        super().__init__(count if max_size is None else max_size, None if device is None else _resolved(device))
        if count > self._max_size:
            raise ValueError(
                message(
                    "TensorStorage", "max_size", expected=f"at least the {count} rows of data", found=self._max_size
                )
            )
        self.write(slice(0, count), self.check(data, "TensorStorage"))

    def _allocate(self, number: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(self._max_size, width, dtype=dtype, device=device)

    def __repr__(self) -> str:
        return f"TensorStorage(max_size={self._max_size}, length={self._length}, device={self.device})"
