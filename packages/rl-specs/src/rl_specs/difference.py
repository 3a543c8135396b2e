"""Differences between a value and a spec, or between two specs, as one table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rl_specs.keys import NestedKey, key_str

Aspect = Literal["type", "presence", "shape", "dtype", "device", "domain"]

_FIXES: dict[Aspect, str] = {
    "type": "give a value of the expected type",
    "presence": "write the missing entries or rename the keys",
    "shape": "reshape the value or correct the spec",
    "dtype": "cast with value.to(dtype) or use spec.to(dtype)",
    "device": "move the value or use spec.to(device)",
    "domain": "bring the value into the domain with spec.project(value)",
}


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it should be.

    Args:
        key: the entry, `None` when the value is not part of a larger one.
        aspect: what differs; `"presence"` when the entry is on one side only.
        expected: what the spec asks for.
        found: what is there.
    """

    key: NestedKey | None
    aspect: Aspect
    expected: str
    found: str


def difference_table(differences: Iterable[Difference]) -> str:
    """The differences as a table in plain text, one line each; empty when there is none."""
    rows = [(key_str(d.key) if d.key is not None else "-", d.aspect, d.expected, d.found) for d in differences]
    return format_table(("key", "what", "expected", "found"), rows) if rows else ""


def fixes(differences: Iterable[Difference]) -> str:
    """What to do about the differences, each kind of advice once."""
    aspects = dict.fromkeys(d.aspect for d in differences)
    advice = "; ".join(_FIXES[aspect] for aspect in aspects)
    return advice[:1].upper() + advice[1:]


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns under a header, each line indented by two spaces."""
    lines = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(f"  {line.rstrip()}" for line in padded)
