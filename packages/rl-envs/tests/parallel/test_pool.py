"""Tests of `rl_envs.parallel._pool`: calls and their answers, whatever goes wrong on the way."""

import contextlib
import errno
import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]  # ships no types
import pytest
import torch

from rl_envs import ClosedEnvError, WorkerError, WorkerTimeoutError
from rl_envs.parallel import PoolOptions, Table, Task, TensorForm, WorkerPool


class CallTask(Task):
    """Calls what it is sent."""

    def describe(self) -> int:
        """The process."""
        return os.getpid()

    def connect(self, table: Table) -> None:
        """Nothing is shared."""

    def step(self) -> None:
        """It is only called."""

    def reset(self, *, is_partial: bool) -> None:
        """It is only called."""

    def call(self, method: str, argument: Any) -> Any:
        """What the function that is the argument returns, or the argument."""
        return argument() if callable(argument) else argument

    def close(self) -> None:
        """Nothing is held."""


def make_pool(timeout_s: float | None = None, count: int = 2) -> WorkerPool:
    """Workers that start fast."""
    return WorkerPool([CallTask] * count, PoolOptions("Pool", "fork", timeout_s))


@pytest.fixture
def pool(leaves_nothing: None) -> Iterator[WorkerPool]:
    """Two workers."""
    made = make_pool()
    yield made
    made.close()


def foreign(module: str, base: type) -> Any:
    """An object that can be unpickled only where this has been called."""
    sys.modules[module] = types.ModuleType(module)
    kind = type("Foreign", (base,), {"__module__": module})
    sys.modules[module].Foreign = kind  # type: ignore[attr-defined]  # made above
    return kind()


def _raise_foreign() -> None:
    raise foreign("of_the_worker", Exception)


@pytest.mark.parametrize(
    ("argument", "error", "text"),
    [
        (lambda: 1 / 0, ZeroDivisionError, "division"),
        (lambda: sys.exit("enough"), WorkerError, r"worker 0 raised(.|\n)*SystemExit: enough"),
        (_raise_foreign, WorkerError, r"worker 0 raised(.|\n)*in _raise_foreign(.|\n)*Foreign"),
        (lambda: (number for number in range(3)), TypeError, "cannot pickle 'generator'"),
        (lambda: foreign("of_the_worker", object), ModuleNotFoundError, "of_the_worker"),
    ],
    ids=["error", "exit", "foreign error", "unpicklable answer", "foreign answer"],
)
def test_a_call_that_fails(pool: WorkerPool, argument: Any, error: type[Exception], text: str) -> None:
    """The user hears what went wrong, and the next call has its own answers."""
    with pytest.raises(error, match=text):
        pool.call("call", [argument, "not asked for"])
    assert pool.call("call", ["a", "b"]) == ["a", "b"]


def test_an_argument_that_the_worker_cannot_read(pool: WorkerPool) -> None:
    """It is an error of that call."""
    argument = foreign("of_the_parent", object)
    with pytest.raises(ModuleNotFoundError, match="of_the_parent"):
        pool.call("call", [argument, "not asked for"])
    with pytest.raises(TypeError, match="generator"):
        pool.call("call", ["not sent", (number for number in range(3))])
    assert pool.call("call", ["a", "b"]) == ["a", "b"]


@pytest.mark.parametrize("size", [1, 1 << 22])
def test_the_limit_holds_for_a_stopped_worker(size: int, leaves_nothing: None) -> None:
    """A worker that is stopped is named and killed in time, when what it is sent does not fit the pipe too."""
    pool = make_pool(timeout_s=0.5)
    os.kill(pool.descriptions[1], signal.SIGSTOP)
    with pytest.raises(WorkerTimeoutError, match=r"worker 1 did not finish within 0\.5 s"):
        pool.call("call", [bytes(size)] * 2)
    assert pool.is_closed


def test_the_limit_holds_in_the_middle_of_an_answer(leaves_nothing: None) -> None:
    """A worker that is stopped when half of its answer has come is named and killed in time."""
    pool = make_pool(timeout_s=1.0, count=1)
    pool.post("call", [lambda: bytes(1 << 22)])
    time.sleep(0.3)  # the pipe is full
    os.kill(pool.descriptions[0], signal.SIGSTOP)
    with pytest.raises(WorkerTimeoutError):
        pool.answers()


def test_large_data_both_ways(pool: WorkerPool) -> None:
    """What does not fit a pipe comes through whole."""
    sent = [os.urandom(1 << 21), os.urandom(1 << 20)]
    assert pool.call("call", sent) == sent


def test_close_is_bounded_where_a_pipe_is_full(leaves_nothing: None) -> None:
    """An interrupt while a stopped worker is sent more than its pipe holds closes the pool, which does not wait."""
    pool = make_pool()
    os.kill(pool.descriptions[0], signal.SIGSTOP)
    start = time.monotonic()
    with _alarm(0.3), pytest.raises(_AlarmError):
        pool.call("call", [bytes(1 << 22)] * 2)
    assert pool.is_closed
    assert time.monotonic() - start < 60.0


def test_any_interrupt_of_a_call_closes(leaves_nothing: None) -> None:
    """What a handler of signals raises leaves no answers to be taken for those of the next call."""
    pool = make_pool()
    with _alarm(0.3), pytest.raises(_AlarmError):
        pool.call("call", [lambda: time.sleep(60)] * 2)
    assert pool.is_closed


class _AlarmError(Exception):
    pass


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def handle(*_: object) -> None:
        raise _AlarmError

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_signal_without_a_name(leaves_nothing: None) -> None:
    """Signals that the system does not name are told by number."""
    pool = make_pool()
    os.kill(pool.descriptions[1], signal.SIGRTMIN + 3)
    with pytest.raises(WorkerError, match=rf"worker 1 was killed by .* \(signal {signal.SIGRTMIN + 3}\)"):
        pool.call("call", [lambda: time.sleep(5), None])


@pytest.mark.parametrize("size", [0, 1 << 22])
def test_an_interpreter_that_does_not_start(size: int, leaves_nothing: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh interpreter that ends at once is told, however much it was to be sent."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    ballast = os.urandom(size)

    def make() -> CallTask:
        assert ballast is not None
        return CallTask()

    with pytest.raises(WorkerError, match=r"supervises the workers ended with exit code 1.*standard error"):
        WorkerPool([make], PoolOptions("Pool"))
    gc.collect()


@contextlib.contextmanager
def limited(kind: int, most: int) -> Iterator[None]:
    """A limit of the system on this process."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


def test_too_few_descriptors(leaves_nothing: None) -> None:
    """Wherever the system refuses a further descriptor, the error says what to do, and those taken are given back."""
    held = len(list(Path("/proc/self/fd").iterdir()))
    refusals = []
    for spare in range(16):
        with limited(resource.RLIMIT_NOFILE, held + spare):
            try:
                make_pool().close()
            except OSError as error:
                refusals.append(str(error))
        assert len(list(Path("/proc/self/fd").iterdir())) == held
    assert len(refusals) > 8
    for spare, text in enumerate(refusals):
        assert (
            f"[Errno {errno.EMFILE}] Pool: the system does not let 2 workers be started (Too many open files)" in text
        )
        assert f"limit of open files, which is {held + spare} (ulimit -n)" in text


def test_too_many_processes(leaves_nothing: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system refuses a further process, the error says what to do."""

    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refuse)
    with pytest.raises(BlockingIOError, match=r"does not let 2 workers be started .*ulimit -u"):
        make_pool()


class SmallTask(CallTask):
    """Has no room for shared memory."""

    def describe(self) -> int:
        """The process; what it has now is all that it gets."""
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize(), resource.RLIM_INFINITY))
        return os.getpid()


def test_a_worker_that_cannot_map(leaves_nothing: None) -> None:
    """A worker whose limits leave no room for the shared memory is named, and the pool closed."""
    pool = WorkerPool([CallTask, SmallTask], PoolOptions("Pool", "fork"))
    with pytest.raises(OSError, match="Cannot allocate memory") as caught:
        pool.share({"section": {"entry": TensorForm((1 << 26,), torch.uint8)}})
    assert "Pool: raised in worker 1" in caught.value.__notes__[0]
    assert pool.is_closed
    with pytest.raises(ClosedEnvError, match="its workers have been closed"):
        pool.share({})


def test_what_a_replaced_worker_left_in_its_pipes(leaves_nothing: None) -> None:
    """Neither its last words nor what it has not read are taken for those of the worker in its place."""
    pool = WorkerPool([CallTask] * 2, PoolOptions("Pool", "fork", restart_on_failure=1))
    for argument in ("not heard", lambda: os.kill(os.getpid(), signal.SIGKILL), "not read"):
        pool.request(1, cloudpickle.dumps(("call", argument)))
    deadline = time.monotonic() + 20.0
    while not (replaced := pool.mend()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert replaced == [1]
    assert pool.call("call", ["a", "b"]) == ["a", "b"]
    pool.close()


def test_input_stays_the_parents(leaves_nothing: None) -> None:
    """A worker that reads its standard input finds it empty, and takes nothing from the parent's."""
    read, write = os.pipe()
    os.write(write, b"for the parent")
    os.close(write)
    before = os.dup(0)
    os.dup2(read, 0)
    try:
        pool = make_pool()
        assert pool.call("call", [lambda: sys.stdin.read(), lambda: os.read(0, 10)]) == ["", b""]
        pool.close()
        assert os.read(0, 100) == b"for the parent"
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(read)


def test_handlers_stay_the_parents(leaves_nothing: None) -> None:
    """In a fork, SIGTERM ends a worker whatever this program does about it; the parent's own mask stays as it was."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        pool = make_pool()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
        assert pool.call("call", [partial(signal.pthread_sigmask, signal.SIG_BLOCK, ())] * 2) == [mask, mask]
        os.kill(pool.descriptions[0], signal.SIGTERM)
        with pytest.raises(WorkerError, match="worker 0 was killed by SIGTERM"):
            pool.call("call", [lambda: time.sleep(5), None])
    finally:
        signal.signal(signal.SIGTERM, before)


def test_made_in_a_thread(leaves_nothing: None) -> None:
    """A pool works in a thread that is not the main one."""
    answers: list[Any] = []

    def work() -> None:
        pool = make_pool()
        answers.append(pool.call("call", [1, 2]))
        pool.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [[1, 2]]


SCRIPT = """
import os, sys
from pathlib import Path
sys.path.append(Path("/nowhere"))  # imports pass over it
sys.stdout = None
from rl_envs import ParallelEnv
from rl_envs.testing import CountingEnv

class Talkative(CountingEnv):
    def _reset(self, data):
        print("reset", flush=True)
        return super()._reset(data)

make = Talkative if sys.argv[1] == "fork" else lambda: (setattr(sys, "stdout", sys.__stdout__), Talkative())[1]
env = ParallelEnv(2, make, start_method=sys.argv[1])
env.rollout(3)
env.close()
os.write(1, b"end")
"""


@pytest.mark.parametrize("start_method", ["fork", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_odd_programs(start_method: str, tmp_path: Path) -> None:
    """Environments that print, in a program without an output of its own and with paths that are no strings."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    result = subprocess.run([sys.executable, script, start_method], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == ("end" if start_method == "fork" else "reset\nreset\nend")


def test_workers_of_two_pools_are_apart(leaves_nothing: None, is_gone: Callable[[int], bool]) -> None:
    """A pool made while another is there does not keep that one's workers alive."""
    first, second = make_pool(), make_pool()
    first.close()
    assert all(is_gone(pid) for pid in first.descriptions)
    assert second.call("call", [1, 2]) == [1, 2]
    second.close()
