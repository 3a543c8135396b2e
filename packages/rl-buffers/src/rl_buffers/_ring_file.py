"""The numbers of a ring in a file, and a lock that excludes other processes.

The lock is `flock`: the system releases it when a process ends, however that happens. A process that dies while it
overwrites rows leaves in the file which rows these were.
"""

import mmap
import os
import sys
from pathlib import Path
from typing import final

from rl_buffers._storage import SharedRing
from rl_specs import message

if sys.platform != "win32":
    import fcntl

RUNS = "runs.bin"
"""The file that says after how many rows runs of a program ended, an integer of 64 bits each."""

_COUNT = 16
_LENGTH, _CURSOR, _WRITTEN, _REPLACED, _CLEARS, _BUSY_START, _BUSY_STOP, _LOADER = range(8)


@final
class RingFile(SharedRing):
    """See `SharedRing`.

    Args:
        folder: where the file is, or is made with zeros.
        is_shared: whether other processes may write to the rows.
    """

    def __init__(self, folder: Path, *, is_shared: bool) -> None:
        if is_shared and sys.platform == "win32":
            raise NotImplementedError(message("LazyMemmapStorage", "shared_init=True needs a POSIX system"))
        self.is_shared = is_shared
        self.pending = 0
        self._lock_path = folder / "lock"
        self._runs_path = folder / RUNS
        self._lock: tuple[int, int] | None = None
        self._depth = 0
        descriptor = os.open(folder / "ring.bin", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, 8 * _COUNT)
            self.numbers = memoryview(mmap.mmap(descriptor, 8 * _COUNT)).cast("q")
        finally:
            os.close(descriptor)

    @property
    def cursor(self) -> int:
        """See `SharedRing.cursor`."""
        return self.numbers[_CURSOR]

    @cursor.setter
    def cursor(self, value: int) -> None:
        self.numbers[_CURSOR] = value

    @property
    def written(self) -> int:
        """See `SharedRing.written`."""
        return self.numbers[_WRITTEN]

    @written.setter
    def written(self, value: int) -> None:
        self.numbers[_WRITTEN] = value

    @property
    def replaced(self) -> int:
        """See `SharedRing.replaced`."""
        return self.numbers[_REPLACED]

    @replaced.setter
    def replaced(self, value: int) -> None:
        self.numbers[_REPLACED] = value

    @property
    def clears(self) -> int:
        """See `SharedRing.clears`."""
        return self.numbers[_CLEARS]

    @clears.setter
    def clears(self, value: int) -> None:
        self.numbers[_CLEARS] = value

    @property
    def runs(self) -> list[int]:
        """See `SharedRing.runs`."""
        data = self._runs_path.read_bytes() if self._runs_path.exists() else b""
        return list(memoryview(data[: len(data) // 8 * 8]).cast("q"))

    def begin_run(self) -> None:
        """See `SharedRing.begin_run`."""
        runs = self.runs
        if self.numbers[_LENGTH] and self.written not in runs[-1:]:
            with self._runs_path.open("ab") as file:
                file.truncate(8 * len(runs))
                file.write(self.written.to_bytes(8, sys.byteorder))

    def begin_write(self, start: int, stop: int) -> None:
        """Rows from `start` to `stop` are about to be written."""
        self.numbers[_BUSY_START] = start
        self.numbers[_BUSY_STOP] = stop

    def end_write(self, count: int) -> None:
        """They are written."""
        self.numbers[_BUSY_STOP] = 0
        self.pending += count

    def unfinished(self) -> slice | None:
        """Rows stored that a process was writing when it died."""
        start, stop = self.numbers[_BUSY_START], min(self.numbers[_BUSY_STOP], self.numbers[_LENGTH])
        return slice(start, stop) if start < stop else None

    def begin_load(self) -> None:
        """All rows are about to be replaced, entry by entry."""
        self.numbers[_LOADER] = os.getpid()

    def end_load(self) -> None:
        """They are replaced, or forgotten."""
        self.numbers[_LOADER] = 0

    @property
    def is_half_loaded(self) -> bool:
        """Whether a process died while it replaced all rows."""
        return self.numbers[_LOADER] != 0 and not _is_alive(self.numbers[_LOADER])

    def acquire(self) -> None:
        """See `SharedRing.acquire`; the process that holds the lock may acquire it again."""
        if not self.is_shared:
            return
        self._depth += 1
        if self._depth == 1:
            self._flock(is_taken=True)

    def release(self) -> None:
        """See `SharedRing.release`."""
        if not self.is_shared:
            return
        self._depth -= 1
        if self._depth == 0:
            self._flock(is_taken=False)

    def _flock(self, *, is_taken: bool) -> None:
        if sys.platform != "win32":
            fcntl.flock(self._descriptor(), fcntl.LOCK_EX if is_taken else fcntl.LOCK_UN)

    def _descriptor(self) -> int:
        """The lock file, opened by this very process: a descriptor inherited by a fork shares the parent's lock."""
        process = os.getpid()
        if self._lock is None or self._lock[0] != process:
            self._lock = (process, os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return self._lock[1]

    def close(self) -> None:
        """Give the lock file back."""
        if self._lock is not None and self._lock[0] == os.getpid():
            os.close(self._lock[1])
        self._lock = None


def _is_alive(process: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to somebody else
        return True
    return True
