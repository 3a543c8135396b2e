"""The state of storages that keep rows as they are: leaves of each row, and what the rows look like."""

from typing import Any

from rl_buffers._base_list_storage import copy_row
from rl_buffers._structure import infer, parse, plain


def describe_rows(rows: list[Any]) -> dict[str, Any]:
    """Rows as the leaves of each; rows made alike share one description."""
    layouts: list[Any] = []
    described = []
    for row in rows:
        structure, _ = infer(row, lead_dims=0, allow_objects=True)
        leaves: list[Any] = []
        structure.flatten(copy_row(row), leaves)
        layout = structure.describe()
        if layout not in layouts:
            layouts.append(layout)
        described.append([layouts.index(layout), [plain(leaf) for leaf in leaves]])
    return {"layouts": layouts, "rows": described}


def parse_rows(state: dict[str, Any]) -> list[Any]:
    """Rows that `describe_rows` described, as copies."""
    structures = [parse(layout) for layout in state["layouts"]]
    return [copy_row(structures[number].build(iter(leaves), (), None)) for number, leaves in state["rows"]]
