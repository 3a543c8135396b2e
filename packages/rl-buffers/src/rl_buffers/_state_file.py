"""States in folders, rows and all in one file: whole or not at all."""

from pathlib import Path
from typing import Any

from rl_buffers._checkpointer import remove_others
from rl_buffers._manifest import disk_errors, read_manifest, write_manifest


def write_folder(folder: Path, state: dict[str, Any]) -> None:
    """Put a state in place of what a folder holds, files of rows of an earlier save included.

    Raises:
        OSError: no room; the earlier save is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with disk_errors("rl_buffers", folder):
        write_manifest("rl_buffers", folder, state)
    remove_others(folder, set())


def read_folder(component: str, folder: Path) -> dict[str, Any]:
    """Read what `write_folder` wrote; nothing in the file is executed.

    Raises:
        FileNotFoundError: no state in the folder.
        SpecError: the file is damaged, or holds objects that only running code could restore.
    """
    return read_manifest(component, folder)
