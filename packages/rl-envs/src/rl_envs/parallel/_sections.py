"""Sections of the table of a batch of environments: one for all where they are alike, else one of each."""

from collections.abc import Mapping, Sequence

import torch

from rl_envs._env_plan import RESET_KEY
from rl_envs._env_specs import EnvSpecs
from rl_envs.parallel._table import Layout, Table, TensorForm, forms
from rl_specs import FlatDict, NestedKey, canonical_key

ROOT, NEXT, FRESH, CONTROL = "root", "next", "fresh", "control"
"""Sections of the table: what a step reads, what it returns, what a reset returns, and what steers the workers."""
SOURCES = "sources"
"""Where a worker finds each root entry, one byte each: nowhere, in the table, or in what its last step returned."""
NOWHERE, GIVEN, KEPT = range(3)


def table_layout(specs: EnvSpecs, *, has_member_masks: bool = False) -> Layout:
    """Sections for environments `[N, *B]` with these specs, for all entries that have a place in shared memory.

    Args:
        specs: of the batch.
        has_member_masks: whether resets follow masks of groups, which then are root entries.
    """
    sections: dict[str, Mapping[NestedKey, TensorForm]] = {}
    if specs.rows:
        for row, own in enumerate(specs.rows):
            parts = _sections(own, has_member_masks)
            sections |= {_of_row(name, row): part for name, part in parts.items()}
        root = {key for name, part in sections.items() if name.startswith(ROOT) for key in part}
    else:
        sections |= _sections(specs, has_member_masks)
        root = set(sections[ROOT])
    control: dict[NestedKey, TensorForm] = {
        RESET_KEY: TensorForm((*specs.done.shape, 1), torch.bool),
        SOURCES: TensorForm((len(root),), torch.uint8),
    }
    return {**sections, CONTROL: control}


def _sections(specs: EnvSpecs, has_member_masks: bool) -> dict[str, dict[NestedKey, TensorForm]]:
    flags = {key: tuple(leaf.shape) for key, leaf in specs.done.flat_items() if not isinstance(key, str)}
    masks = {canonical_key((*key[:-1], RESET_KEY)): TensorForm(shape, torch.bool) for key, shape in flags.items()}
    root = forms(specs.action, specs.state, specs.observation, specs.done)
    return {
        ROOT: {**root, **masks} if has_member_masks else root,
        NEXT: forms(specs.observation, specs.reward, specs.done),
        FRESH: forms(specs.observation, specs.done),
    }


def _of_row(section: str, row: int) -> str:
    return f"{section} {row}"


def is_mixed(table: Table) -> bool:
    """Whether environments have sections of their own."""
    return ROOT not in table


def rows_of(table: Table, section: str, rows: Sequence[int]) -> list[FlatDict]:
    """Entries of some environments in a section."""
    if is_mixed(table):
        return [table[_of_row(section, row)] for row in rows]
    return [{key: value[row] for key, value in table[section].items()} for row in rows]


def root_keys(table: Table, count: int) -> list[NestedKey]:
    """Root entries of `count` environments, in the order of their sources."""
    return list(dict.fromkeys(key for row in rows_of(table, ROOT, range(count)) for key in row))
