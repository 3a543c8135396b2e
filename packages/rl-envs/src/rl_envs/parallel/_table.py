"""Entries of a batch of environments in shared memory: sections of flat dicts of tensors over one segment."""

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

import torch

from rl_specs import Composite, FlatDict, NestedKey, TensorSpec

_ALIGNMENT = 64


@dataclass(frozen=True)
class TensorForm:
    """Shape and dtype of an entry."""

    shape: tuple[int, ...]
    dtype: torch.dtype


Layout: TypeAlias = Mapping[str, Mapping[NestedKey, TensorForm]]
"""Entries of each section, `[N, ...]`; made once by the parent, the same in every process."""


@final
class Table:
    """Tensors over a segment; what one process writes, all see.

    Args:
        memory: bytes of the segment, at least `table_bytes(layout)`.
        layout: the sections.
    """

    def __init__(self, memory: mmap.mmap, layout: Layout) -> None:
        self._sections: dict[str, FlatDict] = {}
        offset = 0
        for name, entries in layout.items():
            section = self._sections[name] = {}
            for key, form in entries.items():
                count = torch.Size(form.shape).numel()
                if count == 0:
                    section[key] = torch.empty(form.shape, dtype=form.dtype)
                    continue
                flat = torch.frombuffer(memory, dtype=form.dtype, count=count, offset=offset)
                section[key] = flat.reshape(form.shape)
                offset += _padded(form)

    def __contains__(self, section: str) -> bool:
        return section in self._sections

    def __getitem__(self, section: str) -> FlatDict:
        return self._sections[section]


def table_bytes(layout: Layout) -> int:
    """Size of the segment that a layout needs."""
    sizes = (_padded(form) for entries in layout.values() for form in entries.values())
    return max(sum(sizes), _ALIGNMENT)


def forms(*specs: Composite) -> dict[NestedKey, TensorForm]:
    """Forms of all entries of some specs but those that are apart."""
    found = {}
    for spec in specs:
        for key, leaf in spec.flat_items():
            if not is_apart(leaf):
                assert leaf.dtype is not None
                found[key] = TensorForm(tuple(leaf.shape), leaf.dtype)
    return found


def is_apart(leaf: TensorSpec) -> bool:
    """Whether an entry has no place in shared memory: it is no tensor, or of no known size."""
    return leaf.dtype is None or leaf.is_dynamic


def _padded(form: TensorForm) -> int:
    size = torch.Size(form.shape).numel() * form.dtype.itemsize
    return -(-size // _ALIGNMENT) * _ALIGNMENT
