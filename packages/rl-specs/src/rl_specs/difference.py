"""Differences between a value and a spec, or between two specs, as one table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rl_specs.keys import NestedKey, key_str


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it should be.

    Args:
        key: the entry, `None` when the value is not part of a larger one.
        aspect: what differs: `"shape"`, `"dtype"`, `"device"`, `"domain"`, `"type"` or `"presence"`.
        expected: what the spec asks for.
        found: what is there.
    """

    key: NestedKey | None
    aspect: str
    expected: str
    found: str


def difference_table(differences: Iterable[Difference]) -> str:
    """The differences as a table in plain text, one line each; empty when there is none."""
    rows = [(key_str(d.key) if d.key is not None else "-", d.aspect, d.expected, d.found) for d in differences]
    return format_table(("key", "what", "expected", "found"), rows) if rows else ""


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns under a header, each line indented by two spaces."""
    lines = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(f"  {line.rstrip()}" for line in padded)
