"""Which transform of an environment reads and writes what, as a table."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TextIO, TypeAlias

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms.transform import Transform
from rl_specs import Composite, LeafSpec, NestedKey, TensorSpec, key_str

_KINDS = ("observation", "reward", "done")
_CALLER = "caller"
Output: TypeAlias = TextIO | None
"""Where to print; None: standard output."""


class Stages(Protocol):
    """What is explained: the specs of an environment before each transform, and after the last one."""

    def __getitem__(self, index: int, /) -> EnvSpecs: ...
    def __len__(self) -> int: ...


@dataclass
class _Entry:
    """One row of a table: an entry, and who does what with it."""

    key: NestedKey
    kind: str
    form: str
    written: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def cells(self) -> tuple[str, ...]:
        people = [", ".join(dict.fromkeys(names)) or "-" for names in (self.written, self.read, self.removed)]
        return (key_str(self.key), self.kind, self.form, *people)


def explain(base: str, transforms: Sequence[Transform], stages: Stages) -> str:
    """Two tables: of the entries that come out of an environment, and of those that go in.

    Args:
        base: name of the environment inside.
        transforms: its transforms, first the one next to it, none of them a `Compose`.
        stages: its specs before each transform, and after the last one.
    Returns:
        Text of several lines: a list of the transforms by number, then a row for each entry with who writes it (in
        order: the last one decides what the user sees), who reads it, and who takes it away.
    """
    names = [f"{position} {type(transform).__name__}" for position, transform in enumerate(transforms)]
    outwards = _outwards(base, names, transforms, stages)
    inwards = _inwards(base, names, transforms, stages)
    header = ("entry", "kind", "form", "written by", "read by", "removed by")
    lines = [f"{base} with {len(names)} transform{'s' if len(names) != 1 else ''}"]
    lines += [f"  {position}  {transform!r}" for position, transform in enumerate(transforms)]
    lines += ["Out of the environment:", *_table(header, outwards), "Into the environment:", *_table(header, inwards)]
    return "\n".join(lines)


def print_explanation(base: str, transforms: Sequence[Transform], stages: Stages, file: Output) -> None:
    """Print what `explain` returns."""
    (sys.stdout if file is None else file).write(f"{explain(base, transforms, stages)}\n")


def _outwards(base: str, names: list[str], transforms: Sequence[Transform], stages: Stages) -> list[_Entry]:
    """Entries that resets and steps return, from the environment to the user."""
    entries: dict[NestedKey, _Entry] = {}
    before: dict[NestedKey, tuple[str, TensorSpec]] = {}
    for key, (kind, spec) in (now := _outputs(stages[0])).items():
        entries[key] = _Entry(key, kind, _form(spec), [base])
    for position, (name, transform) in enumerate(zip(names, transforms, strict=True)):
        before, now = now, _outputs(stages[position + 1])
        writes = set(transform._writes())
        for key, (kind, spec) in now.items():
            entry = entries.setdefault(key, _Entry(key, kind, ""))
            entry.form = _form(spec)
            if key in writes or key not in before or before[key][1] != spec:
                entry.written.append(name)
        for key in transform._reads():
            if key in entries:
                entries[key].read.append(name)
        for key in before:
            if key not in now:
                entries[key].removed.append(name)
    return list(entries.values())


def _inwards(base: str, names: list[str], transforms: Sequence[Transform], stages: Stages) -> list[_Entry]:
    """Actions and states that a step reads, from the user to the environment."""
    now = _inputs(stages[-1])
    entries = {key: _Entry(key, kind, _form(spec), [_CALLER]) for key, (kind, spec) in now.items()}
    for position in reversed(range(len(names))):
        name, transform = names[position], transforms[position]
        before, now = now, _inputs(stages[position])
        for key, (kind, spec) in now.items():
            entry = entries.setdefault(key, _Entry(key, kind, _form(spec)))
            if key in transform.in_keys_inv or key not in before or before[key][1] != spec:
                entry.written.append(name)
        for key in (*transform.out_keys_inv, *transform._reads()):
            if key in entries:
                entries[key].read.append(name)
        for key in before:
            if key not in now:
                entries[key].removed.append(name)
    for key in now:
        entries[key].read.append(base)
    return list(entries.values())


def _outputs(specs: EnvSpecs) -> dict[NestedKey, tuple[str, TensorSpec]]:
    composites = zip(_KINDS, (specs.observation, specs.reward, specs.done), strict=True)
    return {key: (kind, spec) for kind, composite in composites for key, spec in _leaves(composite)}


def _inputs(specs: EnvSpecs) -> dict[NestedKey, tuple[str, TensorSpec]]:
    composites = (("action", specs.action), ("state", specs.state))
    return {key: (kind, spec) for kind, composite in composites for key, spec in _leaves(composite)}


def _leaves(composite: Composite) -> list[tuple[NestedKey, TensorSpec]]:
    return composite.flat_items()


def _form(spec: TensorSpec) -> str:
    """Dtype and shape, such as `float32 [4, 17]`."""
    if not isinstance(spec, LeafSpec):
        return f"{type(spec).__name__} {list(spec.shape)}"
    return f"{str(spec.dtype).removeprefix('torch.')} {list(spec.shape)}"


def _table(header: tuple[str, ...], entries: list[_Entry]) -> list[str]:
    rows = [header, *(entry.cells() for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return [f"  {line.rstrip()}" for line in lines] if entries else ["  nothing"]
