"""Folders in which something is made by a program that may be killed."""

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_LOCK = "lock"
_END = ".partial"


@contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, with which `put` replaces it once it is complete; else it is removed at the end.

    Its maker holds a lock in it, which the system takes from a process that dies. What such a process has left is
    removed by the next that makes something of the same name.

    Args:
        folder: what it is to become.
    """
    _remove_abandoned(folder)
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.{threading.get_ident()}{_END}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    free = partial / f"{_LOCK}.new"
    descriptor = os.open(free, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        _try_lock(descriptor)
        free.rename(partial / _LOCK)  # under this name it is never seen unlocked
        yield partial
    finally:
        os.close(descriptor)
        shutil.rmtree(partial, ignore_errors=True)


def put(partial: Path, folder: Path) -> None:
    """Give a folder that is complete its name.

    Raises:
        OSError: there is something of that name.
    """
    (partial / _LOCK).unlink()
    partial.rename(folder)


def _remove_abandoned(folder: Path) -> None:
    for partial in folder.parent.glob(f"{folder.name}.*{_END}"):
        try:
            descriptor = os.open(partial / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # it is being made, or complete
            continue
        try:
            if _try_lock(descriptor):
                shutil.rmtree(partial, ignore_errors=True)
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Whether this process holds the lock now; never where there are no such locks."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another holds it, or the file system has no locks
        return False
    return True
