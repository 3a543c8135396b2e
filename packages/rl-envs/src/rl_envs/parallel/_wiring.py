"""What runs between the parent and its workers: pipes, one-byte commands, frames.

A command is one byte in the worker's own pipe. Answers to steps and resets lie in shared memory; a worker that has
finished takes a token out of a common pipe that holds one token fewer than there are workers, and the one that finds
none, being the last, wakes the parent. So a step of N workers costs the parent one wake-up rather than N.
"""

import os
import struct
from dataclasses import dataclass

STEP = b"s"
RESET = b"r"
RESET_ALL = b"R"
CALL = b"c"
QUIT = b"q"

DONE = b"."
FAILED = b"!"
TOKEN = b"t"
KILL = b"k"

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
        control: read by the supervisor: `KILL`, or the end of file when the parent is gone.
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


def write_frame(fd: int, payload: bytes) -> None:
    """Write bytes with their length before them."""
    view = memoryview(_LENGTH.pack(len(payload)) + payload)
    while view:
        view = view[os.write(fd, view) :]


def read_frame(fd: int) -> bytes:
    """Read what `write_frame` wrote.

    Raises:
        EOFError: the writer is gone.
    """
    return _read(fd, _LENGTH.unpack(_read(fd, _LENGTH.size))[0])


def _read(fd: int, count: int) -> bytes:
    chunks = []
    while count:
        chunk = os.read(fd, min(count, 1 << 20))
        if not chunk:
            raise EOFError("the other end of a pipe is gone")
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def close_all(fds: list[int]) -> None:
    """Close descriptors, each at most once; the list is empty afterwards."""
    while fds:
        os.close(fds.pop())
