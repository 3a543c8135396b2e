"""Numbers that several processes read and replace as a whole."""

import copy
import gc
import os
import pickle
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl_envs.transforms._shared_statistics import SharedStatistics


def _forked(work: Callable[[SharedStatistics], None], shared: SharedStatistics) -> int:
    """Id of a new process that does `work` with what it finds through a pickle."""
    state = pickle.dumps(shared)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work(pickle.loads(state))
            status = 0
        finally:
            os._exit(status)
    return child


def _status(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _add(shared: SharedStatistics) -> None:
    for _ in range(400):
        with shared:
            _write(shared, _now(shared) + 1.0)


def _die(shared: SharedStatistics) -> None:
    shared.__enter__()
    shared.halves[(shared.version + 1) % 2][:] = -1.0
    os.kill(os.getpid(), signal.SIGKILL)


def _descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def _now(shared: SharedStatistics) -> Any:
    return shared.halves[shared.version % 2]


def _write(shared: SharedStatistics, numbers: Any) -> None:
    shared.halves[(shared.version + 1) % 2][:] = numbers
    shared.switch()


def _numbers(shared: SharedStatistics) -> list[float]:
    with shared:
        found: list[float] = _now(shared).tolist()
    return found


def test_copies_are_the_same_memory() -> None:
    """What one writes its copies and pickles read; each write is a new version."""
    shared = SharedStatistics(3)
    copies: list[SharedStatistics] = [copy.deepcopy(shared), pickle.loads(pickle.dumps(shared))]
    for version, writer in enumerate((shared, *copies), start=1):
        with writer:
            _write(writer, np.array([1.0, 2.0, 3.0]) * version)
        for reader in (shared, *copies):
            assert reader.version == version
            assert _numbers(reader) == [1.0 * version, 2.0 * version, 3.0 * version]


def test_processes_take_turns() -> None:
    """Of 2 x 400 additions by other processes and 400 by this one none is lost."""
    shared = SharedStatistics(2)
    others = [_forked(_add, shared) for _ in range(2)]
    _add(shared)
    assert [_status(other) for other in others] == [0, 0]
    assert _numbers(shared) == [1200.0, 1200.0]


def test_threads_take_turns() -> None:
    """Copies used by several threads of one process exclude each other too."""
    shared = SharedStatistics(1)
    threads = [threading.Thread(target=_add, args=(copy.deepcopy(shared),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert _numbers(shared) == [1200.0]


def test_a_process_killed_in_its_turn() -> None:
    """The lock is free again, and half-written numbers are not seen."""
    shared = SharedStatistics(4)
    with shared:
        _write(shared, np.arange(4.0))
    assert _status(_forked(_die, shared)) == -signal.SIGKILL
    assert _numbers(shared) == [0.0, 1.0, 2.0, 3.0]
    with shared:
        _write(shared, np.full(4, 7.0))
    assert _numbers(shared) == [7.0] * 4


def test_a_fork_takes_its_own_turns() -> None:
    """A forked process waits for the turn of its parent, and what it writes is seen by the parent."""
    shared = SharedStatistics(1)
    read, write = os.pipe()
    with shared:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.write(write, b"x")
                with shared:
                    _write(shared, _now(shared) * 10)
                status = 0
            finally:
                os._exit(status)
        os.read(read, 1)
        _write(shared, np.array([3.0]))
    os.close(read)
    os.close(write)
    assert _status(child) == 0
    assert _numbers(shared) == [30.0]


def test_a_fork_keeps_no_descriptor_of_its_parent() -> None:
    """A forked process that takes turns holds as many descriptors as before: its own in place of those inherited."""
    shared = SharedStatistics(1)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            before = _descriptors()
            for _ in range(3):
                _add(shared)
            status = 0 if _descriptors() == before else 2
        finally:
            os._exit(status)
    assert _status(child) == 0
    assert _numbers(shared) == [1200.0]


def test_a_failed_attempt_leaves_no_descriptor() -> None:
    """Attaching to what is something else by now closes what it has opened, without a collection of garbage."""
    first, second = SharedStatistics(2), SharedStatistics(2)
    attach, (path, is_file, size, token) = first.__reduce__()
    wrong = second.__reduce__()[1][0]
    gc.collect()
    gc.disable()
    try:
        before = _descriptors()
        for where, count in ((wrong, size), (path, size + 1)):
            with pytest.raises(RuntimeError, match="are gone"):
                attach(where, is_file, count, token)
        assert _descriptors() == before
    finally:
        gc.enable()


def test_memory_goes_with_the_last_object() -> None:
    """A copy keeps the memory; a pickle of what is gone finds nothing; no descriptor is left."""
    gc.collect()
    before = _descriptors()
    shared = SharedStatistics(2)
    state, other = pickle.dumps(shared), copy.deepcopy(shared)
    with shared:
        _write(shared, np.array([1.0, 2.0]))
    del shared
    gc.collect()
    assert _numbers(other) == [1.0, 2.0]
    with pytest.raises(RuntimeError, match=r"the shared statistics are gone.*until every worker has started"):
        pickle.loads(state)
    del other
    gc.collect()
    assert _descriptors() == before


def test_another_memory_is_not_taken_for_it() -> None:
    """A descriptor that has become something else, of the same size even, is told by its token."""
    first = SharedStatistics(2)
    attach, (path, is_file, size, token) = first.__reduce__()
    second: Any = SharedStatistics(2)
    wrong = second.__reduce__()[1][0]
    for where, count in ((wrong, size), (path, size + 1)):
        with pytest.raises(RuntimeError, match="are gone"):
            attach(where, is_file, count, token)
    assert attach(path, is_file, size, token).version == 0
