"""A storage that keeps rows in a list, whatever they are."""

from typing import Any, final

import torch
from tensordict import is_tensor_collection
from torch import Tensor

from rl_buffers._storage import Block, Storage, Where
from rl_buffers._structure import infer, parse
from rl_specs import NestedKey, SpecError, message, missing_key


@final
class ListStorage(Storage):
    """Rows of any kind, in a Python list; each may differ from the others.

    Tensors, TensorDicts and containers of these are copied when stored and when read, without gradient; other objects
    are kept as they are.
    A batch to store is a tensor or TensorDict whose first dimension counts rows, a dict of such, or any iterable of
    rows.

    Args:
        max_size: capacity in rows.
    """

    def __init__(self, max_size: int = 1000) -> None:
        super().__init__(max_size)
        self._rows: list[Any] = []

    @property
    def device(self) -> torch.device:
        """The CPU: row numbers index a list."""
        return torch.device("cpu")

    @property
    def is_stacked(self) -> bool:
        """False: a batch is a list of rows."""
        return False

    def check(self, data: Any, component: str) -> Block:
        """See `Storage.check`; any rows are accepted."""
        rows = [copy_row(row) for row in _split(data, component)]
        return Block(len(rows), rows)

    def check_row(self, row: Any, component: str) -> Block:
        """See `Storage.check_row`; any row is accepted."""
        return Block(1, [copy_row(row)])

    def write(self, where: Where, block: Block, source: slice | None = None) -> None:
        """See `Storage.write`."""
        rows = block.columns if source is None else block.columns[source]
        if isinstance(where, int):
            places: Any = (where,)
        else:
            places = range(where.start, where.stop) if isinstance(where, slice) else where.tolist()
        for place, row in zip(places, rows, strict=True):
            self._rows.extend([None] * (place + 1 - len(self._rows)))
            self._rows[place] = row
            self._grow(place + 1)

    def read(self, index: Tensor | slice) -> list[Any]:
        """See `Storage.read`."""
        if isinstance(index, slice):
            return [copy_row(row) for row in self._rows[index]]
        return [copy_row(self._rows[place]) for place in index.tolist()]

    def read_row(self, index: int) -> Any:
        """See `Storage.read_row`."""
        return copy_row(self._rows[index])

    def read_entry(self, key: NestedKey, index: Tensor | slice) -> Tensor:
        """See `Storage.read_entry`; the entry is a tensor or a number in each of the rows, and of one shape."""
        rows = self._rows[index] if isinstance(index, slice) else [self._rows[place] for place in index.tolist()]
        return _entry(key, rows)

    def block_entry(self, key: NestedKey, block: Block) -> Tensor:
        """See `Storage.block_entry`."""
        return _entry(key, block.columns)

    def clear(self) -> None:
        """Forget all rows and free them."""
        super().clear()
        self._rows = []

    def state_dict(self) -> dict[str, Any]:
        """Rows, as the leaves of each; rows made alike share one description."""
        layouts: list[Any] = []
        rows = []
        for row in self._rows:
            structure, _ = infer(row, lead_dims=0, allow_objects=True)
            leaves: list[Any] = []
            structure.flatten(copy_row(row), leaves)
            layout = structure.describe()
            if layout not in layouts:
                layouts.append(layout)
            rows.append([layouts.index(layout), leaves])
        return {"kind": "list", "max_size": self._max_size, "length": self._length, "layouts": layouts, "rows": rows}

    def differences(self, state: dict[str, Any]) -> list[str]:
        """See `Storage.differences`: kind and capacity."""
        return self._common_differences(state, "list")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Storage.load_state_dict`."""
        structures = [parse(layout) for layout in state["layouts"]]
        self._rows = [copy_row(structures[number].build(iter(leaves), (), None)) for number, leaves in state["rows"]]
        self._length = len(self._rows)

    def __repr__(self) -> str:
        return f"ListStorage(max_size={self._max_size}, length={self._length})"


def copy_row(row: Any) -> Any:
    """`row` with its tensors copied and detached; other objects as they are."""
    if isinstance(row, Tensor):
        return row.detach().clone()
    if is_tensor_collection(row):
        return row.detach().clone()
    if isinstance(row, dict):
        return {key: copy_row(value) for key, value in row.items()}
    if type(row) in (list, tuple):
        return type(row)(copy_row(value) for value in row)
    return row


def _split(data: Any, component: str) -> list[Any]:
    """Rows of a batch."""
    if isinstance(data, Tensor) or is_tensor_collection(data):
        if len(data.shape) == 0:
            raise SpecError(message(component, "the data are a single row", fix="Use add(row) for one row"))
        return list(data.unbind(0))
    if isinstance(data, dict):
        columns = {key: _split(value, component) for key, value in data.items()}
        counts = {key: len(column) for key, column in columns.items()}
        if len(set(counts.values())) > 1:
            raise SpecError(message(component, f"the entries differ in their number of rows: {counts}"))
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    try:
        return list(data)
    except TypeError as error:
        raise SpecError(
            message(component, "the data are not a batch", found=type(data).__name__, fix="Use add(row) for one row")
        ) from error


def _entry(key: NestedKey, rows: list[Any]) -> Tensor:
    """One entry of several rows, stacked."""
    path = (key,) if isinstance(key, str) else tuple(key)
    values = []
    for row in rows:
        value = row
        for name in path:
            has = set(value.keys()) if isinstance(value, dict) or is_tensor_collection(value) else set()
            if name not in has:
                raise missing_key("ListStorage", key, has, fix="Store it with every row, or name another entry")
            value = value[name]
        values.append(torch.as_tensor(value))
    return torch.stack(values) if values else torch.empty(0)
