"""Checkpoints of a buffer: one state for all its parts, refused as a whole when it does not fit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rl_buffers._checkpointer import StorageCheckpointerBase
from rl_buffers._folder import assert_rows, load_hooks, load_rows
from rl_buffers._manifest import read_manifest
from rl_buffers._same_rows import has_rows
from rl_buffers._storage import Storage
from rl_buffers.samplers import Sampler
from rl_buffers.writers import ImmutableDatasetWriter, Writer
from rl_specs import SpecError, message

FORMAT = 2
_READABLE = (1, 2)
_PARTS = (
    "storage",
    "sampler",
    "sampler_class",
    "sampler_settings",
    "writer",
    "writer_class",
    "generator",
    "transforms",
)


def buffer_state(
    storage: Storage,
    sampler: Sampler,
    writer: Writer,
    generator: torch.Generator | None,
    transforms: Sequence[nn.Module],
) -> dict[str, Any]:
    """The state of all parts, with what is needed to tell whether it fits elsewhere."""
    return {**state_beside_rows(sampler, writer, generator, transforms), "storage": storage.state_dict()}


def state_beside_rows(
    sampler: Sampler, writer: Writer, generator: torch.Generator | None, transforms: Sequence[nn.Module]
) -> dict[str, Any]:
    """The state of all parts but the storage."""
    return {
        "format": FORMAT,
        "sampler": sampler.state_dict(),
        "sampler_class": sampler.kind,
        "sampler_settings": sampler.settings(),
        "writer": writer.state_dict(),
        "writer_class": type(writer).__name__,
        "writer_settings": writer.settings(),
        "generator": None if generator is None else generator.get_state(),
        "transforms": [dict(transform.state_dict()) for transform in transforms],
        "transform_classes": [type(transform).__name__ for transform in transforms],
    }


def load_buffer(
    component: str,
    folder: Path,
    storage: Storage,
    sampler: Sampler,
    writer: Writer,
    generator: torch.Generator | None,
    transforms: Sequence[nn.Module],
    readers: Sequence[StorageCheckpointerBase],
) -> dict[str, Any]:
    """Load what was saved in a folder, and return it; see `load_buffer_state`.

    Raises:
        FileNotFoundError: no save in the folder.
        SpecError: it does not fit, or its files are damaged; nothing was changed.
    """
    state = read_manifest(component, folder)
    load_buffer_state(component, state, storage, sampler, writer, generator, transforms, folder=folder, readers=readers)
    return state


def load_buffer_state(
    component: str,
    state: dict[str, Any],
    storage: Storage,
    sampler: Sampler,
    writer: Writer,
    generator: torch.Generator | None,
    transforms: Sequence[nn.Module],
    *,
    folder: Path | None = None,
    readers: Sequence[StorageCheckpointerBase] = (),
) -> None:
    """Give each part its state, after all of it was found to fit; rows that the state does not hold are in `folder`.

    Rows that load hooks of `readers` change are compared with the storage after that.

    Raises:
        SpecError: it does not fit; nothing was changed.
    """
    assert_fits(component, state, storage, sampler, writer, generator, transforms, folder=folder, readers=readers)
    take_state(component, state, storage, sampler, writer, generator, transforms, folder=folder, readers=readers)


def assert_fits(
    component: str,
    state: dict[str, Any],
    storage: Storage,
    sampler: Sampler,
    writer: Writer,
    generator: torch.Generator | None,
    transforms: Sequence[nn.Module],
    *,
    folder: Path | None = None,
    readers: Sequence[StorageCheckpointerBase] = (),
) -> None:
    """The first half of `load_buffer_state`, which changes nothing."""
    differences = _format_differences(state)
    if not differences:
        is_hooked = bool(load_hooks(readers)) and state["storage"]["length"] > 0
        differences = [] if is_hooked else storage.differences(state["storage"])
        differences += _part_differences(state, sampler, writer, generator, transforms)
    if differences:
        raise SpecError(
            message(
                component,
                "the state does not fit this buffer: " + "; ".join(differences),
                fix="Nothing was loaded. Build the buffer as the saved one was built",
            )
        )
    if folder is not None:
        assert_rows(component, state["storage"], folder, readers)


def take_state(
    component: str,
    state: dict[str, Any],
    storage: Storage,
    sampler: Sampler,
    writer: Writer,
    generator: torch.Generator | None,
    transforms: Sequence[nn.Module],
    *,
    folder: Path | None = None,
    readers: Sequence[StorageCheckpointerBase] = (),
) -> None:
    """The second half of `load_buffer_state`. A data set that nobody writes to is left alone if it holds the rows."""
    is_fixed = isinstance(writer, ImmutableDatasetWriter) and not load_hooks(readers)
    if not (is_fixed and has_rows(component, storage, state["storage"], folder, readers)):
        if folder is None:
            storage.load_state_dict(state["storage"])
        else:
            load_rows(component, storage, state["storage"], folder, readers)
    sampler.load_state_dict(state["sampler"])
    writer.load_state_dict(state["writer"])
    if generator is not None:
        generator.set_state(state["generator"])
    for transform, saved in zip(transforms, state["transforms"], strict=True):
        transform.load_state_dict(saved)


def _format_differences(state: dict[str, Any]) -> list[str]:
    version = state.get("format")
    if version not in _READABLE:
        return [f"format: expected version {FORMAT}, found {version}"]
    return [f"part {name} is missing" for name in _PARTS if name not in state]


def _part_differences(
    state: dict[str, Any],
    sampler: Sampler,
    writer: Writer,
    generator: torch.Generator | None,
    transforms: Sequence[nn.Module],
) -> list[str]:
    def words(is_given: bool) -> str:
        return "with a generator" if is_given else "without a generator"

    pairs = [
        ("sampler", sampler.kind, state["sampler_class"]),
        ("sampler settings", sampler.settings(), state["sampler_settings"]),
        ("writer", type(writer).__name__, state["writer_class"]),
        ("writer settings", writer.settings(), state.get("writer_settings", {})),
        ("randomness", words(generator is not None), words(state["generator"] is not None)),
        ("transforms that are modules", len(transforms), len(state["transforms"])),
    ]
    differences = [f"{name}: expected {here}, found {saved}" for name, here, saved in pairs if here != saved]
    classes = state.get("transform_classes", [type(transform).__name__ for transform in transforms])
    for number, (transform, saved, name) in enumerate(zip(transforms, state["transforms"], classes, strict=False)):
        if type(transform).__name__ != name:
            differences.append(f"transform {number}: expected {type(transform).__name__}, found {name}")
        else:
            found = _state_differences(_forms(transform.state_dict()), _forms(saved))
            differences += [f"transform {number}, {difference}" for difference in found]
    return differences


def _state_differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Where the states of two modules differ, one sentence each."""
    return [
        f"{key}: expected {expected.get(key, 'no such entry')}, found {found.get(key, 'nothing')}"
        for key in {**expected, **found}
        if expected.get(key) != found.get(key)
    ]


def _forms(state: Mapping[str, Any]) -> dict[str, str]:
    """Shape of each tensor; of what a module keeps besides (extra state, which it checks itself) that it is there."""
    return {
        key: f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else "another value"
        for key, value in state.items()
    }
