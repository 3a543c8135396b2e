"""Rows that hooks made of those of a storage, on the way to files and back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rl_buffers._checkpointer import Hook
from rl_buffers._layout import inferred
from rl_buffers._lazy_tensor_storage import LazyTensorStorage, TensorStorage
from rl_buffers._list_storage import ListStorage
from rl_buffers._rows import Rows, RowStore, TensorRows, TensorStore
from rl_buffers._storage import Storage
from rl_specs import SpecError, message

OTHER = "hooked"
"""Where the state of a saved storage says how the rows in the files are made, if not like those of the storage."""


def hooked_rows(rows: Rows, hooks: Sequence[Hook], folder: Path) -> Rows:
    """What save hooks make of rows; kept in tensors if `rows` are."""
    values = _called(hooks, rows.values(), folder, "save hook")
    if not isinstance(rows, TensorRows):
        return _listed(values, "save hook")
    inferred(values, "save hook", 1)
    return TensorStorage(values)


def empty_store(state: dict[str, Any]) -> RowStore:
    """What the rows of a saved storage can be loaded into, whatever they are."""
    if state["kind"] == "tensor":
        return LazyTensorStorage(max(state["length"], 1))
    return ListStorage(None)


def load_hooked(
    component: str, storage: Storage, state: dict[str, Any], saved: RowStore, hooks: Sequence[Hook], folder: Path
) -> None:
    """Write what load hooks make of saved rows to a storage.

    Args:
        component: who asks, for messages.
        storage: in place of its rows.
        state: what the save says of the storage.
        saved: the rows in the files.
        hooks: the load hooks.
        folder: of the checkpoint.
    Raises:
        SpecError: they make rows that do not fit; nothing was changed.
    """
    values = _called(hooks, saved.values(), folder, "load hook")
    is_tensor = isinstance(storage, TensorStore)
    made = _tensor_state(values, state) if is_tensor else {**state, "length": len(_listed(values, "load hook"))}
    differences = storage.differences(made)
    if made["length"] != state["length"]:
        differences.append(f"number of rows: expected {state['length']}, found {made['length']}")
    if differences:
        problem = "what the load hooks make does not fit this buffer: " + "; ".join(differences)
        fix = "Nothing was loaded. Have them undo what the save hooks did"
        raise SpecError(message(component, problem, fix=fix))
    if is_tensor:
        storage.load_state_dict(made)
    else:
        block = storage.check(values, component)
        storage.clear()
        storage.write(slice(0, block.count), block)


def _tensor_state(values: Any, state: dict[str, Any]) -> dict[str, Any]:
    """The state of a tensor storage that is as the one of `state`, with other rows."""
    inferred(values, "load hook", 1)
    form = {"max_size": state["max_size"], "ndim": state.get("ndim", 1), "lane_shape": state.get("lane_shape", [])}
    return {**TensorStorage(values).state_dict(), **form}


def _called(hooks: Sequence[Hook], values: Any, folder: Path, name: str) -> Any:
    for hook in hooks:
        values = hook(values, folder)
        if values is None:
            raise TypeError(message(name, f"{hook!r} returned None", fix="Return the data, changed or not"))
    return values


def _listed(values: Any, component: str) -> ListStorage:
    rows = ListStorage(None)
    block = rows.check(values, component)
    rows.write(slice(0, block.count), block)
    return rows
