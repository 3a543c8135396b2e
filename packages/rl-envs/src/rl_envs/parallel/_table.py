"""Entries of a batch of environments in shared memory: sections of flat dicts of tensors over one segment."""

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

import torch

from rl_specs import Composite, FlatDict, NestedKey, NonTensor, SpecError, key_str, message

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


def forms(component: str, *specs: Composite) -> dict[NestedKey, TensorForm]:
    """Forms of all entries of some specs.

    Raises:
        SpecError: an entry is no tensor, or of no known size.
    """
    found = {}
    for spec in specs:
        for key, leaf in spec.flat_items():
            if isinstance(leaf, NonTensor) or leaf.dtype is None:
                problem, fix = f"entry {key_str(key)} is no tensor", "Leave it out in the environment, or use SerialEnv"
                raise SpecError(message(component, problem, expected="tensors alone", found=leaf, fix=fix))
            if leaf.is_dynamic:
                problem, fix = f"entry {key_str(key)} leaves a size open", "Pad it in the environment, or use SerialEnv"
                raise SpecError(message(component, problem, expected="known sizes", found=leaf, fix=fix))
            found[key] = TensorForm(tuple(leaf.shape), leaf.dtype)
    return found


def _padded(form: TensorForm) -> int:
    size = torch.Size(form.shape).numel() * form.dtype.itemsize
    return -(-size // _ALIGNMENT) * _ALIGNMENT
