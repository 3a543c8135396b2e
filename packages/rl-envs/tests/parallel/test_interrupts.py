"""Tests of `rl_envs.parallel._interrupts`: Ctrl-C at any moment leaves nothing behind."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from rl_envs.parallel import PoolOptions, Table, Task, WorkerPool
from rl_envs.parallel._interrupts import DeferredInterrupts
from rl_envs.parallel._launch import START_METHODS

HANDLERS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@pytest.fixture
def calls() -> Iterator[list[str]]:
    """What the handlers of signals wrote: that of SIGINT raises, the others return, and none has been replaced."""
    written: list[str] = []

    def note(number: int, _: FrameType | None) -> None:
        written.append(signal.Signals(number).name)
        if number == signal.SIGINT:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in HANDLERS}
    yield written
    found = [signal.signal(number, handler) for number, handler in before.items()]
    assert found == [note] * len(HANDLERS)


def test_handlers_run_after_the_block(calls: list[str]) -> None:
    """Signals that come in the block are told to their handlers at its end, each of them though one raises."""

    def work() -> None:
        with DeferredInterrupts():
            for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM):
                signal.raise_signal(number)
            calls.append("end")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert calls == ["end", "SIGUSR1", "SIGINT", "SIGTERM"]


def test_a_wait_can_be_interrupted_once(calls: list[str]) -> None:
    """In a wait handlers run at once, those put off so far too; once one has raised they are put off again."""

    def work() -> None:
        with DeferredInterrupts() as interrupts:
            signal.raise_signal(signal.SIGUSR1)
            try:
                calls.append("start")
                with interrupts.lifted():
                    signal.raise_signal(signal.SIGTERM)
                    signal.raise_signal(signal.SIGINT)
            finally:
                signal.raise_signal(signal.SIGTERM)
                calls.append("end")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert calls == ["start", "SIGUSR1", "SIGTERM", "SIGINT", "end", "SIGTERM"]


def test_blocks_in_blocks(calls: list[str]) -> None:
    """The end of an inner block is not that of the outer one."""

    def work() -> None:
        with DeferredInterrupts():
            with DeferredInterrupts():
                signal.raise_signal(signal.SIGINT)
            calls.append("end")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert calls == ["end", "SIGINT"]


def test_a_fork_has_the_handlers_that_stood_before(calls: list[str]) -> None:
    """What a signal does in a process that was forked in the block is not put off."""
    with DeferredInterrupts():
        pid = os.fork()
        if pid == 0:
            signal.raise_signal(signal.SIGUSR1)
            os._exit(0 if calls == ["SIGUSR1"] else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_in_a_thread_nothing_changes() -> None:
    """Handlers belong to the main thread, and another one may not touch them."""
    before = signal.getsignal(signal.SIGINT)
    found: list[Any] = []

    def work() -> None:
        with DeferredInterrupts():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]


class PidTask(Task):
    """Tells its process."""

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
        """What it is sent."""
        return argument

    def close(self) -> None:
        """Nothing is held."""


def life() -> None:
    """A pool from its start to its end."""
    pool = WorkerPool([PidTask, PidTask], PoolOptions("Pool", "fork"))
    pool.call("echo", [1, 2])
    pool.close()


PARALLEL = Path(sys.modules[WorkerPool.__module__].__file__ or "").parent
EVERY = tuple(str(path) for path in PARALLEL.glob("*.py") if path.name != "_interrupts.py")
OF_PROCESSES = tuple(str(PARALLEL / name) for name in ("_processes.py", "_launch.py"))


@contextlib.contextmanager
def interrupted_at(count: int, files: tuple[str, ...]) -> Iterator[list[int]]:
    """Ctrl-C before the line of some files that is the `count`th to be run; how many were run."""
    owner, lines = os.getpid(), [0]

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if os.getpid() != owner or frame.f_code.co_filename not in files:
            return None
        if event == "line":
            lines[0] += 1
            if lines[0] == count:
                signal.raise_signal(signal.SIGINT)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


def lines_of_a_life(files: tuple[str, ...]) -> int:
    """How many lines a pool runs, about: some depend on who is faster."""
    with interrupted_at(-1, files) as lines:
        life()
    return lines[0]


def check_every(step: int, first: int, files: tuple[str, ...]) -> None:
    """Interrupt lives at every `step`th line of some files."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        for count in range(first, lines_of_a_life(files), step):
            with contextlib.suppress(KeyboardInterrupt), interrupted_at(count, files):
                life()
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_at_some_lines(leaves_nothing: None) -> None:
    """Wherever the start and the end of a pool are interrupted, no process, descriptor or memory stays behind."""
    check_every(5, 3, OF_PROCESSES)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 9))
def test_ctrl_c_at_every_line(first: int, leaves_nothing: None) -> None:
    """The same at every line."""
    check_every(8, first, EVERY)


MOST_S = 60.0
"""What may pass on a busy machine between Ctrl-C and its exception; without it, ten minutes."""
PHASES = ("start", "reset", "step", "close")
SCRIPT = """
import os, signal, sys, time
from pathlib import Path

from rl_envs import AsyncEnvPool, ParallelEnv
from rl_envs.parallel import WorkerPool
from rl_envs.testing import CountingEnv

WorkerPool.close.__kwdefaults__["grace_s"] = 600.0  # so that nothing but the interrupt ends the wait
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it

class Hanging(CountingEnv):
    def __init__(self, phase, is_hanging):
        super().__init__()
        self.phase = phase if is_hanging else None
        self.meet("start")

    def meet(self, phase):
        if phase == self.phase:
            os.write(1, b"%s\\n" % phase.encode())
            time.sleep(1000)

    def _reset(self, data):
        self.meet("reset")
        return super()._reset(data)

    def _step(self, data):
        self.meet("step")
        return super()._step(data)

    def _close(self):
        self.meet("close")
        super()._close()

def descendants():
    found = [os.getpid()]
    for pid in found:
        found += [int(pid) for pid in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return len(found) - 1

method, *phases = sys.argv[1:]
def parallel(makers):
    return ParallelEnv(2, makers, start_method=method)
def restarting(makers):
    return ParallelEnv(2, makers, start_method=method, restart_on_failure=2)
def asynchronous(makers):
    return AsyncEnvPool(makers, backend="multiprocessing", start_method=method)

for kind in (parallel, restarting, asynchronous):
    for phase in phases:
        try:
            env = kind([lambda i=i: Hanging(phase, i == 1) for i in range(2)])
            env.rollout(2)
            env.close()
        except KeyboardInterrupt:
            found = time.monotonic()
        print(kind.__name__, phase, found, descendants(), len(os.listdir("/proc/self/fd")), flush=True)
"""


METHODS = ["fork", *(pytest.param(name, marks=pytest.mark.slow) for name in START_METHODS if name != "fork")]


@pytest.mark.parametrize("start_method", METHODS)
def test_ctrl_c_in_each_phase(start_method: str, tmp_path: Path) -> None:
    """In a program of its own, Ctrl-C while a worker hangs in a start, a reset, a step or the end is heard, and
    no process or descriptor stays.
    """
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-u", str(script), start_method, *PHASES]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, text=True)
    assert program.stdout is not None
    descriptors = set()
    with program:
        try:
            for kind in ("parallel", "restarting", "asynchronous"):
                for phase in PHASES:
                    assert program.stdout.readline() == f"{phase}\n"
                    time.sleep(0.2)  # so that the program waits for its workers
                    sent = time.monotonic()
                    os.killpg(program.pid, signal.SIGINT)
                    told = program.stdout.readline().split()
                    assert told[:2] == [kind, phase]
                    assert 0 < float(told[2]) - sent < MOST_S
                    assert told[3] == "0"
                    descriptors.add(told[4])
            program.wait(60.0)
        finally:
            program.kill()
    assert program.returncode == 0
    assert len(descriptors) == 1
