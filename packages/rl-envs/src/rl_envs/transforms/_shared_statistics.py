"""Numbers that several processes read and replace as a whole.

They live in memory without a name, which the system frees with the last process that holds it, and are found through
the process that shares them. One lock excludes all readers and writers, threads and processes alike; the system
releases it when a process ends, however it ends. Numbers are replaced by writing them to the half of the memory that
is not in use and then switching over, so that a process which is killed in between leaves those of before.
"""

import mmap
import os
import secrets
import sys
import tempfile
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import numpy as np

from rl_specs import message

if sys.platform != "win32":
    import fcntl

_HEADER = 4
"""Words before the numbers: three by which the memory is known, and how often the numbers have been written."""


@final
class SharedStatistics:
    """Float64 numbers in shared memory.

    Copies and pickles of the object are the same memory. `with statistics:` is a turn: nobody else has one meanwhile.

    Args:
        size: how many numbers.
    Raises:
        RuntimeError: the system has no locks on files.
    """

    def __init__(self, size: int) -> None:
        if sys.platform == "win32":
            problem = "statistics cannot be shared on this system"
            raise RuntimeError(message("VecNorm.share", problem, expected="Linux or macOS", found=sys.platform))
        token = [secrets.randbits(62) for _ in range(3)]
        fd, file = _create()
        try:
            os.ftruncate(fd, _bytes(size))
            self._adopt(fd, file, size, token)
        except BaseException:
            os.close(fd)
            raise
        self._words[:] = [*token, 0]
        if file is not None:
            weakref.finalize(self, Path(file).unlink, missing_ok=True)

    @classmethod
    def _attach(cls, path: str, is_file: bool, size: int, token: list[int]) -> "SharedStatistics":
        """The memory that another object, in this process or in another one, shares.

        Raises:
            RuntimeError: it is gone, together with that object.
        """
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            raise _gone() from None
        shared = cls.__new__(cls)
        try:
            if os.fstat(fd).st_size != _bytes(size):
                raise _gone()
            shared._adopt(fd, path if is_file else None, size, token)
        except BaseException:
            os.close(fd)
            raise
        if shared._words[:-1].tolist() != token:
            shared._close()
            raise _gone()
        return shared

    def _adopt(self, fd: int, file: str | None, size: int, token: list[int]) -> None:
        memory = mmap.mmap(fd, _bytes(size))
        self._fd, self._file, self._size, self._token = fd, file, size, token
        self._process = os.getpid()
        self._words: Any = np.frombuffer(memory, dtype=np.int64, count=_HEADER)
        numbers: Any = np.frombuffer(memory, dtype=np.float64, offset=8 * _HEADER)
        self._halves = numbers[:size], numbers[size:]
        self._close = weakref.finalize(self, os.close, fd)

    # ------------------------------------------------------------------ turns

    def __enter__(self) -> Self:
        if os.getpid() != self._process:
            self._reopen()
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    @property
    def version(self) -> int:
        """How often the numbers have been written; stays as it is during a turn."""
        return int(self._words[-1])

    @property
    def halves(self) -> tuple[Any, Any]:
        """Two arrays `[size]`: the numbers in the one at `version % 2`, in the other one room for the next ones."""
        return self._halves

    def switch(self) -> None:
        """Make the numbers those that were written, during a turn, to the half that was not in use."""
        self._words[-1] += 1

    # ------------------------------------------------------------------ copies

    def __deepcopy__(self, memo: dict[int, object]) -> "SharedStatistics":
        attach, where = self.__reduce__()
        found: SharedStatistics = attach(*where)
        return found

    def __reduce__(self) -> tuple[Any, tuple[str, bool, int, list[int]]]:
        if os.getpid() != self._process:
            self._reopen()
        path = f"/proc/{self._process}/fd/{self._fd}" if self._file is None else self._file
        return SharedStatistics._attach, (path, self._file is not None, self._size, self._token)

    def _reopen(self) -> None:
        """A fork shares the descriptor of its parent, and with it the lock: take one of its own."""
        path = f"/proc/self/fd/{self._fd}" if self._file is None else self._file
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._close()
        self._fd = fd
        self._process = os.getpid()
        self._close = weakref.finalize(self, os.close, self._fd)


def _bytes(size: int) -> int:
    return 8 * (_HEADER + 2 * size)


def _create() -> tuple[int, str | None]:
    """Descriptor of empty memory, and the file that it is where the system has none without a name."""
    if sys.platform == "linux":
        return os.memfd_create("rl_envs_statistics", os.MFD_CLOEXEC), None
    else:
        return tempfile.mkstemp(prefix="rl_envs_statistics_")


def _gone() -> RuntimeError:
    fix = "Keep the VecNorm on which share() was called until every worker has started"
    return RuntimeError(message("VecNorm", "the shared statistics are gone", fix=fix))
