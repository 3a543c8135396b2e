"""States in files: whole or not at all."""

import os
from pathlib import Path
from typing import Any

import torch

from rl_specs import SpecError, message

_FILE = "buffer.pt"


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
