"""Layouts of rows: what is at each path, where two layouts differ, and rows stacked into a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, final

import torch
from tensordict import NonTensorStack, is_non_tensor, is_tensor_collection
from torch import Size, Tensor

from rl_buffers._structure import Path, Structure, infer, parse
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
        lead_dims: how many first dimensions are shared by all leaves: 1 for a batch of rows, 0 for one row.
    Raises:
        SpecError: leaves that are not tensors, none at all, of different numbers of rows, or of rows that differ in
            their shapes.
    """
    try:
        structure, objects = infer(data, lead_dims=lead_dims)
    except RuntimeError as error:  # a lazy stack
        fix = "Pad them, or use LazyStackStorage or ListStorage, whose rows may differ"
        raise SpecError(message(component, "the rows differ in their shapes and cannot be stacked", fix=fix)) from error
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
    has_few = is_tensor_collection(data) and len(data.batch_size) < lead_dims
    if lead_dims and (has_few or any(leaf.ndim < lead_dims for leaf in leaves)):
        raise _too_few_dimensions(component, lead_dims)
    paths = leaf_paths(structure, len(leaves))
    leads = {path: leaf.shape[:lead_dims] for path, leaf in zip(paths, leaves, strict=True)}
    if len(set(leads.values())) > 1:
        counts = {path: lead[0] if lead_dims == 1 else list(lead) for path, lead in leads.items()}
        listed = ", ".join(f"{path_str(path)} has {count}" for path, count in counts.items())
        raise SpecError(message(component, f"the entries differ in their number of rows: {listed}"))
    return structure, leaves


def _too_few_dimensions(component: str, lead_dims: int) -> SpecError:
    if lead_dims == 1:
        return SpecError(
            message(
                component,
                "the data are a single row",
                expected="a batch whose first dimension counts rows",
                found="no batch dimension",
                fix="Use add(row) for one row",
            )
        )
    return SpecError(
        message(
            component,
            "the data have too few batch dimensions",
            expected=f"{lead_dims} in every entry, time last",
            fix="Give the batch size [*B, T], or another ndim to the storage",
        )
    )


def fold(batch: Any, shape: tuple[int, ...]) -> Any:
    """A batch of rows with its first dimension, which counts rows, unfolded to `shape`."""
    structure, _ = infer(batch, lead_dims=1)
    leaves: list[Tensor] = []
    structure.flatten(batch, leaves)
    folded = (leaf.reshape(*shape, *leaf.shape[1:]) for leaf in leaves)
    return structure.build(folded, shape, batch.device if is_tensor_collection(batch) else None)


def stack_rows(rows: Sequence[Any], component: str) -> Any:
    """One batch from rows: tensors are stacked, numbers become tensors, containers and text in TensorDicts are kept.

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


def _stack_leaves(values: list[Any], component: str) -> Any:
    try:
        if is_non_tensor(values[0]):
            return NonTensorStack(*values)
        if isinstance(values[0], Tensor):
            return torch.stack(values)
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SpecError(message(component, f"the rows cannot be stacked: {error}", fix=_FIX)) from error


@final
@dataclass(frozen=True, slots=True)
class Layout:
    """How rows of tensors are made.

    Args:
        structure: nesting of the entries.
        row_shapes: shape of each leaf in one row, in the order in which they are flattened.
        dtypes: dtype of each.
        lane_shape: batch dimensions before time.
    """

    structure: Structure
    row_shapes: list[Size]
    dtypes: list[torch.dtype]
    lane_shape: Size

    def outline(self) -> dict[Path, str]:
        """What is at each path of a row."""
        return outline(self.structure, self.row_shapes, self.dtypes)

    def paths(self) -> list[Path]:
        """Path of each leaf."""
        return leaf_paths(self.structure, len(self.dtypes))

    def row_bytes(self) -> int:
        """Size of a row."""
        sizes = zip(self.row_shapes, self.dtypes, strict=True)
        return sum(prod(shape) * dtype.itemsize for shape, dtype in sizes)

    def describe(self) -> dict[str, Any]:
        """The layout as lists, numbers and strings, for `parse`."""
        return {
            "layout": self.structure.describe(),
            "row_shapes": [list(shape) for shape in self.row_shapes],
            "dtypes": [str(dtype).removeprefix("torch.") for dtype in self.dtypes],
            "lane_shape": list(self.lane_shape),
        }

    @staticmethod
    def parse(state: Mapping[str, Any]) -> "Layout | None":
        """The layout that `describe` described; None where no data had come yet.

        States of format 1 have the columns themselves in place of shapes and dtypes, and one lane.
        """
        if state["layout"] is None:
            return None
        structure = parse(state["layout"])
        if "row_shapes" not in state:
            columns: list[Tensor] = state["columns"]
            return Layout(structure, [c.shape[1:] for c in columns], [c.dtype for c in columns], Size())
        shapes = [Size(shape) for shape in state["row_shapes"]]
        return Layout(structure, shapes, [_dtype(name) for name in state["dtypes"]], Size(state["lane_shape"]))


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise SpecError(message("rl_buffers", f"unknown dtype {name!r} in a saved layout"))
    return found
