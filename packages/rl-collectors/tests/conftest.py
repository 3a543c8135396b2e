"""What a collector in a worker may not leave behind."""

import gc
import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path

import cloudpickle  # type: ignore[import-untyped]  # ships no types
import pytest


def held() -> tuple[list[str], int, int]:
    """Processes started by this one, its descriptors, and the shared memory, which has no name, that it maps."""
    gc.collect()
    stats = [path.read_text().rsplit(")", 1)[1].split() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    children = [state for state, parent, *_ in stats if int(parent) == os.getpid()]
    segments = sum("memfd:rl_envs" in line for line in Path("/proc/self/maps").read_text().splitlines())
    return children, len(list(Path("/proc/self/fd").iterdir())), segments


@pytest.fixture
def leaves_nothing() -> Iterator[None]:
    """Fails a test that leaves a process, a descriptor or shared memory behind."""
    before = held()
    yield
    assert held() == before


def wait_until_gone(pid: int, limit_s: float = 30.0) -> bool:
    """Whether a process, of whatever parent, has ended within the limit."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    is_gone = bool(poll.poll(limit_s * 1000))
    os.close(descriptor)
    return is_gone


@pytest.fixture
def is_gone() -> Callable[[int], bool]:
    """`wait_until_gone`."""
    return wait_until_gone


@pytest.fixture
def fresh_interpreters_have_this(request: pytest.FixtureRequest) -> Iterator[None]:
    """Sends what a test module defines to workers with all that it needs: they cannot import it."""
    cloudpickle.register_pickle_by_value(request.module)
    yield
    cloudpickle.unregister_pickle_by_value(request.module)
