"""Layouts of rows: what is at each path, where two layouts differ, and rows stacked into a batch."""

from collections.abc import Sequence
from typing import Any

import torch
from tensordict import is_tensor_collection
from torch import Size, Tensor

from rl_buffers._structure import Path, Structure, infer
from rl_specs import SpecError, key_str, message

_LEAF = "(leaf)"


def outline(structure: Structure, row_shapes: Sequence[Size], dtypes: Sequence[torch.dtype]) -> dict[Path, str]:
    """What is at each path of a row: `float32 [17]` for a tensor, the kind of container for a node."""
    texts = (f"{str(d).removeprefix('torch.')} {list(s)}" for s, d in zip(row_shapes, dtypes, strict=True))
    out: dict[Path, str] = {}
    structure.outline(texts, (), out)
    return out


def leaf_paths(structure: Structure, count: int) -> list[Path]:
    """Paths of the `count` leaves, in the order in which they are flattened."""
    out: dict[Path, str] = {}
    structure.outline(iter([_LEAF] * count), (), out)
    return [path for path, text in out.items() if text is _LEAF]


def outline_differences(expected: dict[Path, str], found: dict[Path, str]) -> list[str]:
    """Where two outlines of rows differ, one sentence each."""
    differences = []
    for path in {**expected, **found}:
        want, have = expected.get(path), found.get(path)
        if want != have:
            differences.append(f"{path_str(path)}: expected {want or 'no such entry'}, found {have or 'nothing'}")
    return differences


def path_str(path: Path) -> str:
    """`path` for a message."""
    if not path:
        return "the data"
    return key_str(path[0] if len(path) == 1 else path)


def inferred(data: Any, component: str, lead_dims: int) -> tuple[Structure, list[Tensor]]:
    """Structure and leaves of tensor data that a tensor storage could hold.

    Args:
        data: any nesting of tensors.
        component: who asks, for the message.
        lead_dims: 1 for a batch of rows, 0 for one row.
    Raises:
        SpecError: leaves that are not tensors, none at all, or of different numbers of rows.
    """
    structure, objects = infer(data, lead_dims=lead_dims)
    if objects:
        raise SpecError(
            message(
                component,
                f"a tensor storage holds tensors only; not a tensor: {', '.join(path_str(path) for path in objects)}",
                fix="Convert with torch.as_tensor, drop the entries, or use ListStorage, which holds any object",
            )
        )
    leaves: list[Tensor] = []
    structure.flatten(data, leaves)
    if not leaves:
        raise SpecError(message(component, "the data have no entries", expected="at least one tensor"))
    is_single = is_tensor_collection(data) and len(data.batch_size) == 0
    if lead_dims and (is_single or any(leaf.ndim == 0 for leaf in leaves)):
        raise SpecError(
            message(
                component,
                "the data are a single row",
                expected="a batch whose first dimension counts rows",
                found="no batch dimension",
                fix="Use add(row) for one row",
            )
        )
    paths = leaf_paths(structure, len(leaves))
    counts = {path: leaf.shape[:lead_dims] for path, leaf in zip(paths, leaves, strict=True)}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{path_str(path)} has {lead[0]}" for path, lead in counts.items())
        raise SpecError(message(component, f"the entries differ in their number of rows: {listed}"))
    return structure, leaves


def stack_rows(rows: Sequence[Any], component: str) -> Any:
    """One batch from rows: tensors are stacked, numbers become tensors, containers are kept.

    Raises:
        SpecError: rows are made differently, or hold what cannot be stacked.
    """
    if not rows:
        raise SpecError(message(component, "there are no rows to stack"))
    first = rows[0]
    structure, _ = infer(first, lead_dims=0, allow_objects=True)
    table: list[list[Any]] = []
    for row in rows:
        leaves: list[Any] = []
        if not structure.flatten(row, leaves):
            raise SpecError(message(component, "the rows cannot be stacked: they have different entries", fix=_FIX))
        table.append(leaves)
    columns = [_stack_leaves(list(column), component) for column in zip(*table, strict=True)]
    device = first.device if is_tensor_collection(first) else None
    return structure.build(iter(columns), (len(rows),), device)


_FIX = "Give the buffer a collate_fn that takes the list of rows; lambda rows: rows returns it as it is"


def _stack_leaves(values: list[Any], component: str) -> Tensor:
    try:
        if isinstance(values[0], Tensor):
            return torch.stack(values)
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SpecError(message(component, f"the rows cannot be stacked: {error}", fix=_FIX)) from error
