"""Checkpoints of a buffer: one state for all its parts, refused as a whole when it does not fit."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rl_buffers._storage import Storage
from rl_buffers.samplers import Sampler
from rl_buffers.writers import Writer
from rl_specs import SpecError, message

FORMAT = 1
_FILE = "buffer.pt"
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
    return {
        "format": FORMAT,
        "storage": storage.state_dict(),
        "sampler": sampler.state_dict(),
        "sampler_class": sampler.kind,
        "sampler_settings": sampler.settings(),
        "writer": writer.state_dict(),
        "writer_class": type(writer).__name__,
        "generator": None if generator is None else generator.get_state(),
        "transforms": [dict(transform.state_dict()) for transform in transforms],
    }


def load_buffer_state(
    component: str,
    state: dict[str, Any],
    storage: Storage,
    sampler: Sampler,
    writer: Writer,
    generator: torch.Generator | None,
    transforms: Sequence[nn.Module],
) -> None:
    """Give each part its state, after all of it was found to fit.

    Raises:
        SpecError: it does not fit; nothing was changed.
    """
    differences = _format_differences(state)
    if not differences:
        differences = storage.differences(state["storage"])
        differences += _part_differences(state, sampler, writer, generator, transforms)
    if differences:
        raise SpecError(
            message(
                component,
                "the state does not fit this buffer: " + "; ".join(differences),
                fix="Nothing was loaded. Build the buffer as the saved one was built",
            )
        )
    storage.load_state_dict(state["storage"])
    sampler.load_state_dict(state["sampler"])
    writer.load_state_dict(state["writer"])
    if generator is not None:
        generator.set_state(state["generator"])
    for transform, saved in zip(transforms, state["transforms"], strict=True):
        transform.load_state_dict(saved)


def _format_differences(state: dict[str, Any]) -> list[str]:
    version = state.get("format")
    if version != FORMAT:
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
        ("randomness", words(generator is not None), words(state["generator"] is not None)),
        ("transforms that are modules", len(transforms), len(state["transforms"])),
    ]
    differences = [f"{name}: expected {here}, found {saved}" for name, here, saved in pairs if here != saved]
    for number, (transform, saved) in enumerate(zip(transforms, state["transforms"], strict=False)):
        here, there = _tensor_shapes(transform.state_dict()), _tensor_shapes(saved)
        if here != there:
            differences.append(f"transform {number}: expected state {here}, found {there}")
    return differences


def _tensor_shapes(state: Mapping[str, Any]) -> dict[str, list[int]]:
    """Shapes of the tensors; what a module keeps besides (its extra state) it checks itself."""
    return {name: list(value.shape) for name, value in state.items() if isinstance(value, Tensor)}


def write_folder(folder: Path, state: dict[str, Any]) -> None:
    """Write a state to a folder: under another name first, forced to disk, then renamed over the old one."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{_FILE}.{os.getpid()}.partial"
    try:
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / _FILE)
    finally:
        partial.unlink(missing_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_folder(component: str, folder: Path) -> dict[str, Any]:
    """Read what `write_folder` wrote; nothing in the file is executed.

    Raises:
        FileNotFoundError: no state in the folder.
        SpecError: the file is damaged, or holds objects that only running code could restore.
    """
    path = folder / _FILE
    if not path.is_file():
        raise FileNotFoundError(message(component, f"no saved buffer at {path}", fix="Give the folder given to dumps"))
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise SpecError(message(component, f"{path} cannot be read: {error}")) from error
    return state
