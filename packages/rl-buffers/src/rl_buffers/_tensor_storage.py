"""Storages that keep rows in tensors."""

from abc import abstractmethod
from math import prod
from typing import Any

import torch
from torch import Size, Tensor

from rl_buffers._arguments import whole_number
from rl_buffers._checkpointer import StorageCheckpointerBase
from rl_buffers._chunks import Chunks
from rl_buffers._lanes import by_time, joined, lane_refusal, no_room_for_lanes
from rl_buffers._layout import Layout, inferred, leaf_paths, outline, outline_differences, path_str, stack_rows
from rl_buffers._paged_column import PagedColumn
from rl_buffers._pager import Pager
from rl_buffers._rows import Column, TensorStore
from rl_buffers._snapshot import Snapshot
from rl_buffers._storage import Block, Storage, Where
from rl_buffers._structure import Path, Structure
from rl_buffers._table import Table, group
from rl_buffers._tensor_checkpointer import TensorStorageCheckpointer
from rl_specs import DeviceError, NestedKey, SpecError, message, missing_key

_NOTHING = torch.empty(0)
_NO_LEAD = Size()


class BaseTensorStorage(Storage, TensorStore):
    """Rows in preallocated tensors.

    The nesting of the first data is flattened once into a list of leaves, and those are laid out in tables (see
    `rl_buffers._table`); writes and reads follow that plan. Rows are values of any nesting of TensorDicts,
    tensorclasses, dicts, lists and tuples of tensors; a list at the root given to `check` is a list of rows. Data on
    another device are moved. What is read is a contiguous copy, without gradient.

    With `ndim` > 1 data are `[*B, T, ...]`, time last. Their rows are stored step by step, row `t * lanes + b` for lane
    `b` (of `lanes`, the product of `B`) at time `t`: a ring of rows is a ring of time in every lane.

    Args:
        max_size: capacity in rows; rounded down to a whole number of steps of all lanes.
        device: where the tables live; None for the device of the first data.
        ndim: how many first dimensions of data count rows.
        pager: what reserves room for the tables and gives it back; None for tables in memory.
        batch_device: where what is read is moved; None for where the tables are.
        checkpointer: how rows become files; None for `TensorStorageCheckpointer()`.
    """

    def __init__(
        self,
        max_size: int,
        device: torch.device | None,
        *,
        ndim: int = 1,
        pager: Pager | None = None,
        batch_device: torch.device | None = None,
        checkpointer: StorageCheckpointerBase | None = None,
    ) -> None:
        super().__init__(max_size, checkpointer if checkpointer is not None else TensorStorageCheckpointer())
        self._ndim = whole_number(type(self).__name__, "ndim", ndim, least=1)
        self._lane_shape = Size()
        self._lanes = 1
        self._device = device
        self._batch_device = batch_device
        self._pager = pager
        self._chunks = Chunks(1, 1)
        self._structure: Structure | None = None
        self._tables: list[Table] = []
        self._row_shapes: list[Size] = []
        self._dtypes: list[torch.dtype] = []
        self._to_flatten: list[int] = []
        self._devices: list[torch.device] = []
        self._entries: dict[Path, int] = {}
        self._views: list[Tensor] = []
        self._snapshots: tuple[Snapshot, ...] = ()

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

    @property
    def ndim(self) -> int:
        """See `Storage.ndim`."""
        return self._ndim

    @property
    def lanes(self) -> int:
        """See `Storage.lanes`; the first data decide."""
        return self._lanes

    @property
    def lane_shape(self) -> Size:
        """See `Storage.lane_shape`; the first data decide."""
        return self._lane_shape

    def check(self, data: Any, component: str) -> Block:
        """See `Storage.check`; the first data decide the layout."""
        if type(data) is list:
            if self._ndim > 1 and data:
                return joined([self.check_row(step, component) for step in data])
            data = stack_rows(data, component)
        return self._check(data, component, self._ndim)

    def check_row(self, row: Any, component: str) -> Block:
        """See `Storage.check_row`."""
        return self._check(row, component, self._ndim - 1)

    def check_flat(self, rows: Any, component: str, *, is_single: bool = False) -> Block:
        """See `Storage.check_flat`."""
        self._known_structure()
        if type(rows) is list and not is_single:
            rows = stack_rows(rows, component)
        leaves, lead = self._checked_leaves(rows, component, 0 if is_single else 1)
        return Block(1 if is_single else lead[0], leaves)

    def _check(self, data: Any, component: str, lead_dims: int) -> Block:
        if self._structure is None:
            self.refresh()
            if self._structure is None:
                self._set_layout(data, component, lead_dims)
        leaves, lead = self._checked_leaves(data, component, lead_dims)
        if self._ndim == 1:
            return Block(lead[0] if lead_dims else 1, leaves)
        has_time = lead_dims == self._ndim
        if lead[: self._ndim - 1] != self._lane_shape:
            raise lane_refusal(component, self._lane_shape, lead, has_time)
        return by_time(leaves, self._lanes, lead[-1] if has_time else None)

    def _checked_leaves(self, data: Any, component: str, lead_dims: int) -> tuple[list[Tensor], Size]:
        """The leaves of `data`, `[*lead, size]` each, on the device of the tables; and `lead`."""
        assert self._structure is not None
        leaves: list[Tensor] = []
        try:
            is_alike = self._structure.flatten(data, leaves)
        except RuntimeError:  # a lazy stack of rows that differ
            is_alike = False
        if not is_alike:
            raise self._refusal(data, component, lead_dims)
        lead = leaves[0].shape[:lead_dims] if lead_dims else _NO_LEAD
        row_shapes = self._row_shapes
        shapes = [lead + row_shape for row_shape in row_shapes] if lead_dims else row_shapes
        if (
            [leaf.shape for leaf in leaves] != shapes
            or [leaf.dtype for leaf in leaves] != self._dtypes
            or len(lead) != lead_dims
        ):
            raise self._refusal(data, component, lead_dims)
        for position in self._to_flatten:
            leaves[position] = leaves[position].reshape(*lead, prod(row_shapes[position]))
        if any([leaf.requires_grad for leaf in leaves]):  # noqa: C419  # a list is faster than a generator
            leaves = [leaf.detach() for leaf in leaves]
        if [leaf.device for leaf in leaves] != self._devices:
            for position, leaf in enumerate(leaves):
                if leaf.is_meta and self._device != leaf.device:
                    raise self._no_data(component, position)
            leaves = [leaf.to(self._device) for leaf in leaves]
        return leaves, lead

    def _set_layout(self, data: Any, component: str, lead_dims: int) -> None:
        structure, leaves = inferred(data, component, lead_dims)
        row_shapes = [leaf.shape[lead_dims:] for leaf in leaves]
        lane_shape = leaves[0].shape[: self._ndim - 1]
        device = leaves[0].device
        self._adopt(Layout(structure, row_shapes, [leaf.dtype for leaf in leaves], lane_shape), device)

    def _adopt(self, layout: Layout, device: torch.device) -> None:
        """Allocate tables for rows of a layout, on `device` where the storage has none yet."""
        lanes = prod(layout.lane_shape)
        if not 0 < lanes <= self._capacity:
            raise no_room_for_lanes(type(self).__name__, self._capacity, layout.lane_shape)
        if self._device is None:
            self._device = device
        self._max_size = self._capacity - self._capacity % lanes
        tables = []
        with torch.inference_mode(False):
            for number, members in enumerate(group(layout.row_shapes, layout.dtypes)):
                shapes = [layout.row_shapes[member] for member in members]
                width = sum(prod(shape) for shape in shapes)
                data = self._allocate(number, width, layout.dtypes[members[0]], self._device)
                tables.append(Table(members, shapes, data))
        self._structure, self._tables = layout.structure, tables
        self._row_shapes, self._dtypes = layout.row_shapes, layout.dtypes
        self._to_flatten = [number for number, shape in enumerate(layout.row_shapes) if len(shape) != 1]
        self._devices = [self._device] * len(layout.dtypes)
        self._lane_shape, self._lanes = layout.lane_shape, lanes
        self._entries = {path: position for position, path in enumerate(layout.paths())}
        self._views = self._columns()
        self._chunks = Chunks(self._max_size, layout.row_bytes())

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
        pager = self._pager
        start, stop = _span(where)
        if pager is not None:
            pager.before_write(start, stop)
        if self._snapshots:
            self._keep(where)
        for table in self._tables:
            table.write(where, block.columns, source)
        self._chunks.mark(start, stop)
        self._grow(stop)
        if pager is not None:
            pager.after_write(stop - start)

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
        return self._batch(structure, leaves, (count,))

    def read_row(self, index: int) -> Any:
        """See `Storage.read_row`."""
        structure = self._known_structure()
        leaves = [_NOTHING] * len(self._row_shapes)
        for table in self._tables:
            table.read(slice(index, index + 1), leaves)
        return self._batch(structure, [leaf.squeeze(0) for leaf in leaves], ())

    def _batch(self, structure: Structure, leaves: list[Tensor], lead: tuple[int, ...]) -> Any:
        """Rows made of leaves, where the user wants them."""
        if self._pager is not None:
            self._pager.after_read(lead[0] if lead else 1)
        device = self._batch_device
        if device is None:
            return structure.build(iter(leaves), lead, self._device)
        return structure.build((leaf.to(device) for leaf in leaves), lead, device)

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

    def _keep(self, where: Where) -> None:
        """Rows `where` are about to be overwritten: those that a save under way still needs are copied for it."""
        self._snapshots = tuple([snapshot for snapshot in self._snapshots if snapshot.before_write(where)])

    def freeze(self) -> Snapshot:
        """See `Storage.freeze`; all rows are copied at once where other processes may write them."""
        columns = {path: view[: self._length] for path, view in zip(self._entries, self._views, strict=True)}
        chunks = self._chunks.freeze()
        snapshot = Snapshot(
            self.head(), self._structure, columns, chunks, lanes=self._lanes, is_alone=self.is_alone, pager=self._pager
        )
        if self.is_alone:
            self._snapshots = (*self._snapshots, snapshot)
        else:
            snapshot.before_write(slice(0, self._length))
        return snapshot

    def head(self) -> dict[str, Any]:
        """The state but for the rows: capacity, number of rows, layout."""
        layout = self._layout()
        return {
            "kind": "tensor",
            "max_size": self._capacity,
            "length": self._length,
            "ndim": self._ndim,
            **(layout.describe() if layout is not None else {"layout": None}),
        }

    def state_dict(self) -> dict[str, Any]:
        """Rows stored (not the unused part of the tables), entry by entry, and the layout."""
        rows = [view[: self._length] for view in self._views]
        return {**self.head(), "columns": [row.to("cpu", copy=True).contiguous() for row in rows]}

    def values(self) -> Any:
        """See `Rows.values`."""
        leaves = (view[: self._length].to("cpu", copy=True) for view in self._views)
        return self._known_structure().build(leaves, (self._length,), torch.device("cpu"))

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the tables, whose rows are copied: whoever reads the state writes to tables of its own."""
        tables: dict[str, Any] = {"_structure": None, "_tables": [], "_views": [], "_entries": {}, "_numbers": [0]}
        return {**self.__dict__, **tables, "rows": BaseTensorStorage.state_dict(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state."""
        self.__dict__.update({name: value for name, value in state.items() if name != "rows"})
        BaseTensorStorage.load_state_dict(self, state["rows"])

    def _layout(self) -> Layout | None:
        if self._structure is None:
            return None
        return Layout(self._structure, self._row_shapes, self._dtypes, self._lane_shape)

    @property
    def chunks(self) -> Chunks:
        """Which rows were written since when."""
        return self._chunks

    @property
    def is_alone(self) -> bool:
        """See `TensorRows.is_alone`."""
        return self.ring is None or not self.ring.is_shared

    def done(self, stop: int) -> None:
        """Nothing was copied for whoever reads."""

    def paths(self) -> list[Path]:
        """Path of every entry of a row."""
        return list(self._entries)

    def columns(self) -> dict[Path, Column]:
        """Every entry of the rows stored, `[len, *row_shape]`, as views that are not to be written to."""
        length, pager = self._length, self._pager
        views = {path: view[:length] for path, view in zip(self._entries, self._views, strict=True)}
        return dict(views) if pager is None else {path: PagedColumn(view, pager) for path, view in views.items()}

    def differences(self, state: dict[str, Any]) -> list[str]:
        """See `Storage.differences`: kind, capacity, dimensions, keys, shapes, dtypes."""
        found = self._common_differences(state, "tensor")
        if found:
            return found
        if state.get("ndim", 1) != self._ndim:
            found.append(f"ndim: expected {self._ndim}, found {state['ndim']}")
        saved, here = Layout.parse(state), self._layout()
        if saved is not None and here is not None:
            if saved.lane_shape != here.lane_shape:
                found.append(f"lanes: expected {list(here.lane_shape)}, found {list(saved.lane_shape)}")
            found.extend(outline_differences(here.outline(), saved.outline()))
        return found

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Storage.load_state_dict`; a storage without rows takes the layout of the state."""
        self.begin_load(state)
        layout = Layout.parse(state)
        if layout is not None:
            for path, column in zip(layout.paths(), state["columns"], strict=True):
                self.put(path, 0, column)
        self.end_load()

    def begin_load(self, head: dict[str, Any]) -> None:
        """Take over the layout of a state, without its rows, and forget all rows.

        Raises:
            OSError: the disk has no room for the rows of the state; nothing was changed.
        """
        layout = Layout.parse(head)
        if layout is not None:
            if self._structure is None:
                self._adopt(layout, torch.device("cpu"))
            if self._pager is not None:
                self._pager.before_write(0, head["length"])
                self._pager.after_write(0)
        self.clear()
        if self._pager is not None:
            self._pager.begin_load()

    def end_load(self) -> None:
        """All rows of the state were put."""
        if self._pager is not None:
            self._pager.end_load()

    def put(self, path: Path, start: int, values: Tensor) -> None:
        """Write one entry `[n, *row_shape]` of rows from `start`; the rows are whole once all entries were put."""
        stop = start + values.shape[0]
        if stop == start:
            return
        if self._pager is not None:
            self._pager.before_write(start, stop)
        if self._snapshots:
            self._keep(slice(start, stop))
        with torch.no_grad():
            self._views[self._entries[path]][start:stop] = values
        self._chunks.mark(start, stop)
        self._grow(stop)
        if self._pager is not None:
            self._pager.after_write(stop - start)


def _span(where: Where) -> tuple[int, int]:
    """First row, and one more than the last."""
    if isinstance(where, int):
        return where, where + 1
    if isinstance(where, slice):
        return where.start, where.stop
    return (int(where.min()), int(where.max()) + 1) if where.numel() else (0, 0)
