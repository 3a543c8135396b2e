"""The lock of a buffer: threads, and for storages that several processes use, processes.

Threads wait at the lock of the storage, so that the buffers on one storage exclude each other.
A storage in named files keeps the writer's place beside its rows, so that a buffer opened on it later goes on where the
last one stopped. With `shared_init=True` several buffers, each with a sampler of its own, use the rows at once: whoever
enters first waits for the others, takes over the place in the ring, and tells its sampler which rows were written
meanwhile. Buffers opened on one folder without it take turns only by luck, but each follows what the last one wrote.
All of that happens here; storages, samplers and writers know nothing of each other's processes.
"""

from types import TracebackType
from typing import Protocol, TypeAlias, final

import torch

from rl_buffers._sampler import Sampler
from rl_buffers._storage import SharedRing, Storage
from rl_buffers._writer import Writer
from rl_specs import message


class Lock(Protocol):
    """What a buffer uses of a lock."""

    def __enter__(self) -> object:
        """Wait for it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> bool | None:
        """Give it back."""


class RLock(Lock, Protocol):
    """As made by `threading.RLock`, which is a function, not a type."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Wait for it."""

    def release(self) -> None:
        """Give it back."""


Seen: TypeAlias = tuple[int, int, int]
"""How often a ring was emptied, written and written in place when a buffer last looked."""

_NOTHING: Seen = (0, 0, 0)

SAME_RUN: Seen = (-1, 0, 0)
"""What a sampler knows that takes another one's place: nothing, but that what is written goes on."""


def buffer_lock(
    component: str, storage: Storage, sampler: Sampler, writer: Writer, *, seen: Seen | None = None
) -> Lock:
    """The lock around the parts of a buffer; it may be entered again by the thread that holds it.

    Args:
        component: the buffer, for messages.
        storage: its storage.
        sampler: its sampler.
        writer: its writer.
        seen: what the sampler knows of the ring; None for nothing.
    Raises:
        ValueError: a writer that keeps more than a place in a ring, on a storage shared between processes.
    """
    ring = storage.ring
    rows_lock: RLock = storage.lock
    if ring is None:
        return rows_lock
    assert_shareable(component, storage, writer)
    if writer.state_dict().keys() <= {"cursor"}:
        return RingLock(ring, storage, sampler, writer, seen if seen is not None else _NOTHING)
    return rows_lock


def assert_shareable(component: str, storage: Storage, writer: Writer) -> None:
    """Raises:
    ValueError: a writer that keeps more than a place in a ring, on a storage shared between processes.
    """
    ring = storage.ring
    if ring is not None and ring.is_shared and not writer.state_dict().keys() <= {"cursor"}:
        raise ValueError(
            message(
                component,
                "a storage shared between processes",
                expected="a writer whose state is a place in a ring, such as RoundRobinWriter()",
                found=repr(writer),
            )
        )


@final
class RingLock:
    """Keeps a buffer in step with the ring of its storage; see `buffer_lock`."""

    def __init__(self, ring: SharedRing, storage: Storage, sampler: Sampler, writer: Writer, seen: Seen) -> None:
        self._threads: RLock = storage.lock
        self._depth = 0
        self._ring = ring
        self._storage = storage
        self._sampler = sampler
        self._writer = writer
        self._seen = seen
        ring.pending = 0
        if not ring.is_shared and seen == _NOTHING:
            ring.begin_run()
        self._runs = ring.runs
        self._catch_up()

    def join(self, threads: RLock) -> None:
        """From now on threads wait for another lock, that of several buffers."""
        self._threads = threads

    @property
    def seen(self) -> Seen:
        """What the sampler knows of the ring."""
        return self._seen

    def __enter__(self) -> object:
        self._threads.acquire()
        self._depth += 1
        if self._depth == 1 and (self._ring.is_shared or self._is_behind()):
            try:
                self._catch_up()
            except BaseException:
                self._depth -= 1
                self._threads.release()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> bool | None:
        try:
            if self._depth == 1:
                self._publish()
        finally:
            self._depth -= 1
            self._threads.release()
        return None

    def _is_behind(self) -> bool:
        """Whether another buffer wrote to the rows."""
        ring = self._ring
        return (ring.clears, ring.written, ring.replaced) != self._seen

    def _catch_up(self) -> None:
        ring, storage = self._ring, self._storage
        ring.acquire()
        try:
            storage.refresh()
            if self._is_behind():
                self._tell_sampler()
        except BaseException:
            ring.release()
            raise
        if self._depth == 0:
            ring.release()

    def _tell_sampler(self) -> None:
        ring, storage = self._ring, self._storage
        clears, written, replaced = self._seen
        if ring.clears != clears:
            self._sampler.clear()
        if self._writer.state_dict():
            self._writer.load_state_dict({"cursor": ring.cursor})
        count = min(ring.written - written, len(storage))
        if count:
            rows = torch.arange(ring.cursor - count, ring.cursor) % storage.max_size
            self._sampler.extend(storage, rows)
            runs = self._runs if ring.is_shared else ring.runs
            ends = [stop for stop in runs if ring.written - count < stop <= ring.written]
            if ends:
                self._sampler.part(storage, rows[count - 1 - ring.written + torch.tensor(ends)])
        if ring.replaced != replaced:
            self._sampler.overwrite(storage, slice(0, len(storage)))
        self._seen = (ring.clears, ring.written, ring.replaced)

    def _publish(self) -> None:
        """Leave the place in the ring beside the rows, and let other processes in."""
        ring = self._ring
        try:
            cursor: int = self._writer.state_dict().get("cursor", ring.cursor)
            if ring.pending:
                size = self._storage.max_size
                if cursor != ring.cursor or ring.pending % size == 0:
                    ring.written += ring.pending
                else:
                    ring.replaced += 1
                ring.pending = 0
            ring.cursor = cursor
            self._seen = (ring.clears, ring.written, ring.replaced)
        finally:
            if ring.is_shared:
                ring.release()
