"""What runs between the parent and its workers: pipes, one-byte commands, frames.

A command is one byte in the worker's own pipe. Answers to steps and resets lie in shared memory; a worker that has
finished takes a token out of a common pipe that holds one token fewer than there are workers, and the one that finds
none, being the last, wakes the parent. So a step of N workers costs the parent one wake-up rather than N.
"""

import os
import select
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

STEP = b"s"
RESET = b"r"
RESET_ALL = b"R"
CALL = b"c"
QUIT = b"q"

DONE = b"."
FAILED = b"!"
TOKEN = b"t"

KILL = b"k"
START = b"n"
END = b"e"
ALL = -1
ORDER = struct.Struct("=ci")
"""What the parent tells a supervisor, and the index of the worker that it is about, or `ALL`.

`KILL`: kill it. `START`: start it anew, where supervisors can. `END`: start none from now on, and wake those that were
stopped, so that they can be told to quit.
"""

EXIT_RECORD = struct.Struct("=iI")
"""Index of a worker that ended, and its wait status."""
_LENGTH = struct.Struct("=Q")


@dataclass(frozen=True)
class WorkerEnds:
    """File descriptors of one worker: it reads commands, and writes answers to calls."""

    command: int
    reply: int


@dataclass(frozen=True)
class GroupEnds:
    """File descriptors of the processes' side of one supervisor and its workers.

    Args:
        control: read by the supervisor: an `ORDER`, or the end of file when the parent is gone.
        status: written by the supervisor: an `EXIT_RECORD` for each worker that ends.
        done: written by the worker that finishes last: `DONE`; by one that fails: `FAILED`.
        tokens: read by workers that have finished, never blocking.
        segment: the shared memory.
        workers: of each worker of the group.
    """

    control: int
    status: int
    done: int
    tokens: int
    segment: int
    workers: tuple[WorkerEnds, ...]

    def all(self) -> list[int]:
        """Every descriptor."""
        own = [self.control, self.status, self.done, self.tokens, self.segment]
        return own + [fd for ends in self.workers for fd in (ends.command, ends.reply)]


Wait: TypeAlias = Callable[[int, int], None]
"""Waits until a descriptor is ready for an event (`select.POLLIN`, `select.POLLOUT`), or raises what ends the wait."""


def wait_without_limit(fd: int, event: int) -> None:
    """The `Wait` that ends with the other side: a pipe without one is ready, too."""
    poll = select.poll()
    poll.register(fd, event)
    poll.poll()


def write_frame(fd: int, payload: bytes, wait: Wait = wait_without_limit, *, command: bytes = b"") -> None:
    """Write bytes with their length before them.

    Args:
        fd: a pipe.
        payload: the bytes.
        wait: called while a pipe that does not block is full.
        command: what goes before all.
    """
    view = memoryview(command + _LENGTH.pack(len(payload)) + payload)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            wait(fd, select.POLLOUT)


def read_frame(fd: int, wait: Wait = wait_without_limit) -> bytes:
    """Read what `write_frame` wrote.

    Args:
        fd: a pipe.
        wait: called while a pipe that does not block is empty.
    Raises:
        EOFError: the writer is gone.
    """
    return _read(fd, _LENGTH.unpack(_read(fd, _LENGTH.size, wait))[0], wait)


def _read(fd: int, count: int, wait: Wait) -> bytes:
    chunks = []
    while count:
        try:
            chunk = os.read(fd, min(count, 1 << 20))
        except BlockingIOError:
            wait(fd, select.POLLIN)
            continue
        if not chunk:
            raise EOFError("the other end of a pipe is gone")
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def discard(fd: int) -> None:
    """Throw away what waits in a pipe."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while poll.poll(0) and os.read(fd, 1 << 16):
        pass


def close_all(fds: list[int]) -> None:
    """Close descriptors, each at most once; the list is empty afterwards."""
    while fds:
        os.close(fds.pop())
