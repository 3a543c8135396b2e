"""Which processes and what memory of workers there are."""

import gc
import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path

import cloudpickle  # type: ignore[import-untyped]  # ships no types
import pytest


def descendants(pid: int) -> set[int]:
    """Processes below `pid`, those that have ended but were not waited for included."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update(below)
        waiting += below
    return found


def wait_until_gone(pid: int, limit_s: float = 60.0) -> bool:
    """Whether a process, of whatever parent, has ended within the limit."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(limit_s * 1000))
    finally:
        os.close(descriptor)


def shared_segments() -> int:
    """Segments that this process maps or holds open."""
    maps = sum("memfd:rl_envs" in line for line in Path("/proc/self/maps").read_text().splitlines())
    links = (str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink())
    return maps + sum("memfd:rl_envs" in link for link in links)


@pytest.fixture
def leaves_nothing() -> Iterator[None]:
    """Fails a test that leaves a process, a descriptor or shared memory behind."""
    gc.collect()
    before = (descendants(os.getpid()), len(list(Path("/proc/self/fd").iterdir())), shared_segments())
    yield
    gc.collect()
    after = (descendants(os.getpid()), len(list(Path("/proc/self/fd").iterdir())), shared_segments())
    assert after == before


@pytest.fixture
def descendants_now() -> Callable[[int], set[int]]:
    """`descendants`."""
    return descendants


@pytest.fixture
def shared_memory() -> Callable[[], int]:
    """`shared_segments`."""
    return shared_segments


@pytest.fixture
def is_gone() -> Callable[[int], bool]:
    """`wait_until_gone`."""
    return wait_until_gone


@pytest.fixture
def workers_of() -> Callable[[], list[int]]:
    """Workers of the pools that the test starts, in the order in which they were started."""
    others = descendants(os.getpid())

    def workers() -> list[int]:
        started = descendants(os.getpid()) - others
        return sorted(pid for pid in started if _parent(pid) != os.getpid())

    return workers


@pytest.fixture
def fresh_interpreters_have_this(request: pytest.FixtureRequest) -> Iterator[None]:
    """Sends what a test module defines to workers with all that it needs: they cannot import it."""
    cloudpickle.register_pickle_by_value(request.module)
    yield
    cloudpickle.unregister_pickle_by_value(request.module)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
