"""Checkpoints: a folder that is either complete or not there.

A checkpoint is written under a temporary name beside its place, every file and the folder fsynced, and renamed into
place. A process that is killed at any moment leaves a loadable checkpoint: the new one, or the one before under
`<name>.previous`. `manifest.json`, written last, holds the version of the format and each file's size and SHA-256.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl_specs.errors import message
from rl_trainers.errors import CheckpointError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"


def _write_file(path: Path, content: bytes) -> None:
    """Write and fsync one file."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)


def _serialise(part: Any) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(part, buffer)
    return buffer.getvalue()


def _write_parts(folder: Path, parts: Mapping[str, Any], counters: Mapping[str, int | float]) -> None:
    inventory = {}
    for name, part in parts.items():
        content = _serialise(part)
        file_name = f"{name}.pt"
        _write_file(folder / file_name, content)
        inventory[file_name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {"format_version": FORMAT_VERSION, "counters": dict(counters), "files": inventory}
    _write_file(folder / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    _sync_folder(folder)


def save_checkpoint(path: Path, parts: Mapping[str, Any], counters: Mapping[str, int | float]) -> None:
    """Write a checkpoint in place of the one that is there, atomically.

    Args:
        path: the checkpoint's folder; its parent exists.
        parts: name to state; a state is whatever `torch.load(weights_only=True)` can read back: tensors, numbers,
            text, lists, dicts.
        counters: numbers that a person may want to read, kept as text in `manifest.json`.
    Raises:
        CheckpointError: the files cannot be written (a full disk, no permission). The checkpoint before this
            one is intact.
    """
    temporary, previous = _temporary(path), _previous(path)
    try:
        _remove(temporary)
        temporary.mkdir()
        _write_parts(temporary, parts, counters)
        if path.exists():
            _remove(previous)
            path.rename(previous)
        temporary.rename(path)
        _sync_folder(path.parent)
        _remove(previous)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        kept = complete_checkpoint(path)
        raise CheckpointError(
            message(
                "checkpoint",
                f"{path} could not be written ({error.strerror or error})",
                fix=(f"The one before is intact in {kept}" if kept else "There is none before it")
                + "; free space or mend permissions and save again",
            )
        ) from error


def complete_checkpoint(path: Path) -> Path | None:
    """Where the newest completely written checkpoint of this name is: `path`, `<path>.previous`, or `None`."""
    return next((place for place in (path, _previous(path)) if (place / MANIFEST).is_file()), None)


def _is_inventory(files: Any) -> bool:
    entries = files.values() if isinstance(files, dict) else [None]
    return all(isinstance(entry, dict) and {"size", "sha256"} <= set(entry) for entry in entries)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint folder.

    Args:
        folder: a checkpoint's folder.
    Returns:
        `{"format_version": int, "counters": {...}, "files": {name: {"size": int, "sha256": str}}}`.
    Raises:
        CheckpointError: it is not there, not readable, or of a newer format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        found = ", ".join(sorted(p.name for p in folder.iterdir())) if folder.is_dir() else "no such folder"
        raise CheckpointError(
            message(
                "checkpoint",
                f"{folder} is not a complete checkpoint",
                expected=MANIFEST,
                found=found or "an empty folder",
                fix="Take another checkpoint; this one was never finished",
            )
        )
    try:
        manifest = json.loads(path.read_text())
        version, files, counters = manifest["format_version"], manifest["files"], manifest["counters"]
        well_formed = isinstance(version, int) and isinstance(counters, dict) and _is_inventory(files)
    except (ValueError, KeyError, TypeError):
        well_formed = False
    if not well_formed:
        raise CheckpointError(message("checkpoint", f"{path} is damaged", fix="Take another checkpoint or a backup"))
    if version > FORMAT_VERSION:
        raise CheckpointError(
            message(
                "checkpoint",
                f"{folder} was written by a newer rl-trainers",
                expected=f"format {FORMAT_VERSION} or older",
                found=f"format {version}",
                fix="Upgrade with pip install -U rl-trainers",
            )
        )
    assert isinstance(manifest, dict)
    return manifest


def _verified(folder: Path, name: str, entry: Mapping[str, Any]) -> bytes:
    path = folder / name
    if path.name != name or not path.is_file():
        raise CheckpointError(message("checkpoint", f"{path} is missing", fix="Take another checkpoint or a backup"))
    content = path.read_bytes()
    if len(content) != entry["size"]:
        raise CheckpointError(
            message(
                "checkpoint",
                f"{path} is damaged",
                expected=f"{entry['size']} bytes",
                found=f"{len(content)} bytes",
                fix="Take another checkpoint or a backup",
            )
        )
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry["sha256"]:
        raise CheckpointError(
            message(
                "checkpoint",
                f"{path} is damaged",
                expected=f"SHA-256 {entry['sha256'][:16]}...",
                found=f"{digest[:16]}...",
                fix="Take another checkpoint or a backup",
            )
        )
    return content


def load_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a checkpoint after verifying its inventory.

    Args:
        path: the checkpoint's folder, as given to `save_checkpoint`. If it is not there but `<path>.previous` is,
            as after a kill between the two renames of a save, that one is read.
    Returns:
        The parts, on the CPU, and the counters.
    Raises:
        CheckpointError: there is none, or it is incomplete, damaged, or of a newer format.
    """
    import torch

    folder = complete_checkpoint(path) or path
    manifest = read_manifest(folder)
    parts = {}
    for name, entry in manifest["files"].items():
        content = _verified(folder, name, entry)
        try:
            parts[name.removesuffix(".pt")] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:
            # Whatever torch raises, the content is what was saved, by something else than save_checkpoint.
            problem = f"{folder / name} cannot be read ({str(error).splitlines()[0]})"
            raise CheckpointError(message("checkpoint", problem, fix="Take another checkpoint or a backup")) from error
    return parts, manifest["counters"]
