"""The file that makes a checkpoint: written last, under another name, forced to disk, renamed over the old one."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from rl_specs import SpecError, message

FILE = "buffer.pt"
_MARK = b"rl-buffers/2"
_DIGEST = 16


def write_manifest(component: str, folder: Path, state: dict[str, Any]) -> None:
    """Put a state in place of the one in a folder.

    Raises:
        SpecError: it holds objects that `read_manifest` would refuse; nothing was written.
    """
    data = BytesIO()
    torch.save(state, data)
    data.seek(0)
    refused = torch.serialization.get_unsafe_globals_in_checkpoint(data)
    if refused:
        problem = f"a checkpoint cannot hold objects of {', '.join(sorted(refused))}"
        expected = "tensors, numbers and text, in lists, tuples and dicts"
        fix = "Nothing was saved. Store such rows, or convert with register_save_hook and register_load_hook"
        raise SpecError(message(component, problem, expected=expected, fix=fix))
    partial = folder / f"{FILE}.partial"
    try:
        with partial.open("wb") as file:
            file.write(data.getbuffer())
            file.write(digest(data.getbuffer()) + _MARK)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / FILE)
    finally:
        partial.unlink(missing_ok=True)
    sync(folder)


def read_manifest(component: str, folder: Path) -> dict[str, Any]:
    """The state in a folder; nothing in the file is executed.

    Raises:
        FileNotFoundError: no state in the folder.
        SpecError: the file is damaged, or holds objects that only running code could restore.
    """
    path = folder / FILE
    if not path.is_file():
        raise FileNotFoundError(message(component, f"no saved buffer at {path}", fix="Give the folder given to dumps"))
    data = path.read_bytes()
    if data.endswith(_MARK):
        end = len(data) - len(_MARK) - _DIGEST
        if digest(data[:end]) != data[end : end + _DIGEST]:
            raise SpecError(message(component, f"{path} cannot be read: its checksum does not fit, it is damaged"))
        data = data[:end]
    try:
        state: dict[str, Any] = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise SpecError(message(component, f"{path} cannot be read: {error}")) from error
    return state


def digest(data: bytes | bytearray | memoryview) -> bytes:
    """Checksum of some bytes."""
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()


def file_digest(path: Path) -> bytes:
    """Checksum of a file."""
    found = hashlib.blake2b(digest_size=_DIGEST)
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            found.update(block)
    return found.digest()


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(component: str, folder: Path) -> Iterator[None]:
    """Errors of a full disk say what is left of the save before."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            problem = f"no room to save in {folder} ({error.strerror}); what was saved there before is whole"
            raise OSError(error.errno, message(component, problem, fix="Make room, or save elsewhere")) from error
        raise
