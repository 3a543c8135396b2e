"""A collector's worker: whatever fails, the user hears of it and nothing is left behind."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tensordict import TensorDictBase

from rl_collectors import Collector, Overlap
from rl_envs import (
    ClosedEnvError,
    Compose,
    EnvBase,
    PendulumEnv,
    StepCounter,
    Transform,
    TransformedEnv,
    WorkerError,
    WorkerTimeoutError,
)


def forked(batches: int = 1, timeout_s: float | None = None) -> Overlap:
    """A worker that starts fast."""
    return Overlap(batches, start_method="fork", timeout_s=timeout_s)


class Failing:
    """A policy that acts well for some steps, and then does something else, once.

    Args:
        steps: how many steps.
        fail: what then.
    """

    def __init__(self, steps: int, fail: Callable[[], object]) -> None:
        self.left = steps
        self.fail = fail

    def __call__(self, data: TensorDictBase) -> TensorDictBase:
        """Zero actions."""
        if self.left == 0:
            self.fail()
        self.left -= 1
        return data.set("action", torch.zeros(1))


def make_env(pid_file: Path | None = None) -> EnvBase:
    """An environment that leaves word of the process that it lives in."""
    if pid_file is not None:
        pid_file.write_text(str(os.getpid()))
    return TransformedEnv(PendulumEnv(), StepCounter())


def refuse() -> None:
    """Raise."""
    raise ArithmeticError("no action today")


@pytest.mark.parametrize("ahead", [0, 1])
def test_an_exception_of_the_policy(ahead: int, leaves_nothing: None) -> None:
    """It is raised as it is, with the worker's traceback, and collection may go on, with new trajectories."""
    collector = Collector(make_env, Failing(3, refuse), frames_per_batch=5, overlap=forked(ahead))
    with pytest.raises(ArithmeticError, match="no action today") as error:
        collector.rollout()
    assert "in refuse" in error.value.__notes__[0]
    assert collector.state_dict()["root"] is None
    collector.shutdown()


def test_a_failure_ahead_waits_for_its_turn(tmp_path: Path, leaves_nothing: None) -> None:
    """While a batch ahead has failed, a state can be saved and seeds set; who asks for that batch hears of it."""
    mark = tmp_path / "mark"

    def collector() -> Collector:
        make = lambda: TransformedEnv(PendulumEnv(), Compose(StepCounter(), Armed(mark, refuse)))  # noqa: E731
        return Collector(make, None, frames_per_batch=5, total_frames=30, overlap=forked(2))

    first = collector()
    batches = iter(first)
    next(batches)
    assert len(first.state_dict()["ahead"]["batches"]) == 2
    mark.touch()
    next(batches)
    state = first.state_dict()
    assert len(state["ahead"]["batches"]) == 1
    assert state["root"] is None
    first.set_seed(3)
    next(batches)
    with pytest.raises(ArithmeticError, match="no action today"):
        next(batches)
    first.shutdown()

    resumed = collector()
    resumed.load_state_dict(state)
    assert [batch["step_count"].flatten().tolist() for batch in resumed] == [
        [10, 11, 12, 13, 14],
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [10, 11, 12, 13, 14],
    ]
    resumed.shutdown()


@pytest.mark.parametrize(
    ("fail", "told"),
    [
        (lambda: os._exit(7), "worker 0 ended with exit code 7"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), r"worker 0 was killed by SIGKILL \(signal 9\)"),
    ],
)
def test_a_worker_that_ends(fail: Callable[[], object], told: str, leaves_nothing: None) -> None:
    """Exit code or signal are told, and later calls say that the worker is closed."""
    collector = Collector(make_env, Failing(3, fail), frames_per_batch=5, overlap=forked())
    with pytest.raises(WorkerError, match=told):
        collector.rollout()
    with pytest.raises(ClosedEnvError, match="closed"):
        collector.rollout()
    collector.shutdown()


def test_a_worker_killed_while_it_waits(tmp_path: Path, is_gone: Callable[[int], bool], leaves_nothing: None) -> None:
    """A worker that dies between two batches is noticed at the next one."""
    file = tmp_path / "pid"
    collector = Collector(make_env, None, frames_per_batch=5, overlap=forked(), create_env_kwargs={"pid_file": file})
    collector.rollout()
    worker = int(file.read_text())
    os.kill(worker, signal.SIGKILL)
    assert is_gone(worker)
    with pytest.raises(WorkerError, match="SIGKILL"):
        collector.rollout()
    collector.shutdown()


def test_a_batch_that_takes_too_long(leaves_nothing: None) -> None:
    """Past the limit the worker is killed."""
    hang = Failing(3, lambda: time.sleep(600))
    collector = Collector(make_env, hang, frames_per_batch=5, overlap=forked(timeout_s=0.5))
    with pytest.raises(WorkerTimeoutError, match=r"did not finish within 0\.5 s"):
        collector.rollout()
    collector.shutdown()


@pytest.mark.parametrize("way", ["shutdown", "collected"])
def test_nothing_is_left(way: str, tmp_path: Path, is_gone: Callable[[int], bool], leaves_nothing: None) -> None:
    """With a batch under way, the worker ends with `shutdown` or with the collector, and takes all with it."""
    file = tmp_path / "pid"
    collector = Collector(make_env, None, frames_per_batch=500, overlap=forked(), create_env_kwargs={"pid_file": file})
    collector.rollout()
    if way == "shutdown":
        collector.shutdown()
        collector.shutdown()
    else:
        del collector
        gc.collect()
    assert is_gone(int(file.read_text()))


def test_interrupt(tmp_path: Path, is_gone: Callable[[int], bool], leaves_nothing: None) -> None:
    """Ctrl-C while waiting for a batch is raised at once, and ends the worker, even one that hangs."""
    file = tmp_path / "pid"
    hang = Failing(3, lambda: time.sleep(600))
    collector = Collector(make_env, hang, frames_per_batch=5, overlap=forked(), create_env_kwargs={"pid_file": file})
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        collector.rollout()
    timer.join()
    signal.signal(signal.SIGINT, before)
    assert is_gone(int(file.read_text()))
    collector.shutdown()


def test_a_killed_learner_takes_its_worker_along(tmp_path: Path, is_gone: Callable[[int], bool]) -> None:
    """No worker outlives a learner that is killed, not even one that hangs."""
    file = tmp_path / "pid"
    read, write = os.pipe()
    learner = os.fork()
    if learner == 0:
        try:
            hang = Failing(7, lambda: time.sleep(600))
            collector = Collector(
                make_env, hang, frames_per_batch=5, overlap=forked(2), create_env_kwargs={"pid_file": file}
            )
            collector.rollout()
            os.write(write, b"!")
            time.sleep(600)
        finally:
            os._exit(1)
    assert os.read(read, 1) == b"!"
    os.close(read)
    os.close(write)
    worker = int(file.read_text())
    os.kill(learner, signal.SIGKILL)
    os.waitpid(learner, 0)
    assert is_gone(worker)


def assert_same(found: TensorDictBase, expected: TensorDictBase) -> None:
    """Two batches are equal to the last bit."""
    assert set(found.keys(True, True)) == set(expected.keys(True, True))
    for key in expected.keys(True, True):
        assert torch.equal(found[key], expected[key]), key


@pytest.mark.parametrize("ahead", [0, 1, 2])
@pytest.mark.parametrize("how", ["killed", "raised"])
def test_a_state_of_before_the_fault_goes_on_exactly(
    how: str, ahead: int, tmp_path: Path, leaves_nothing: None
) -> None:
    """A run whose worker broke goes on from its last saved state, in another collector or in the one that can still be
    used, to the batches that would have come.
    """
    faults = {"killed": lambda: os.kill(os.getpid(), signal.SIGKILL), "raised": refuse}
    fault, mark = faults[how], tmp_path / "mark"

    def make() -> EnvBase:
        return TransformedEnv(PendulumEnv(), Compose(StepCounter(max_steps=7), Armed(mark, fault)))

    def collector() -> Collector:
        made = Collector(make, None, frames_per_batch=5, total_frames=40, overlap=forked(ahead))
        made.set_seed(3)
        return made

    torch.manual_seed(1)
    first = collector()
    first.rollout()
    state, random = first.state_dict(), torch.get_rng_state()
    expected = [first.rollout() for _ in range(4)]
    first.shutdown()

    torch.manual_seed(1)
    second = collector()
    second.rollout()
    mark.touch()
    with pytest.raises((WorkerError, ArithmeticError)):
        list(second)
    assert not mark.exists()
    if how == "killed":
        second.shutdown()
        second = collector()
    second.load_state_dict(state)
    torch.set_rng_state(random)
    found = [second.rollout() for _ in range(4)]
    second.shutdown()
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


class Armed(Transform):
    """Fails once when there is a mark, and removes it."""

    def __init__(self, mark: Path, fail: Callable[[], object]) -> None:
        super().__init__(["reward"])
        self._mark, self._fail = mark, fail

    def _apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        if self._mark.exists():
            self._mark.unlink()
            self._fail()
        return value


SCRIPT = """
import os, signal, sys, time
from pathlib import Path

from rl_collectors import Collector, Overlap
from rl_envs.parallel import WorkerPool
from rl_envs.testing import CountingEnv

WorkerPool.close.__kwdefaults__["grace_s"] = 600.0  # so that nothing but the interrupt ends the wait
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it

class Hanging(CountingEnv):
    def __init__(self, phase):
        super().__init__()
        self.phase, self.steps = phase, 0
        self.meet("start")

    def meet(self, phase):
        if phase == self.phase:
            os.write(1, b"%s\\n" % phase.encode())
            time.sleep(1000)

    def _step(self, data):
        self.steps += 1
        if self.steps == 10:
            for phase in ("collect", "state", "busy"):
                self.meet(phase)
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
for phase in phases:
    try:
        collector = Collector(lambda: Hanging(phase), None, frames_per_batch=8, overlap=Overlap(1, start_method=method))
        collector.rollout()
        if phase == "state":
            collector.state_dict()
        elif phase == "collect":
            collector.rollout()
        collector.shutdown()
    except KeyboardInterrupt:
        found = time.monotonic()
    print(phase, found, descendants(), len(os.listdir("/proc/self/fd")), flush=True)
"""
MOST_S = 60.0
"""What may pass on a busy machine between Ctrl-C and its exception; without it, ten minutes."""
PHASES = ("start", "collect", "state", "busy", "close")
METHODS = ["fork", *(pytest.param(name, marks=pytest.mark.slow) for name in ("forkserver", "spawn"))]


@pytest.mark.parametrize("start_method", METHODS)
def test_ctrl_c_in_each_phase(start_method: str, tmp_path: Path) -> None:
    """In a program of its own, Ctrl-C while the worker hangs in its start, in a batch that is waited for or that a
    state or the end waits for, or in its end is heard at once, and no process or descriptor stays.
    """
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-u", str(script), start_method, *PHASES]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, text=True)
    assert program.stdout is not None
    descriptors = set()
    with program:
        try:
            for phase in PHASES:
                assert program.stdout.readline() == f"{phase}\n"
                time.sleep(0.2)  # so that the program waits for its worker
                sent = time.monotonic()
                os.killpg(program.pid, signal.SIGINT)
                told = program.stdout.readline().split()
                assert told[0] == phase
                assert 0 < float(told[1]) - sent < MOST_S
                assert told[2] == "0"
                descriptors.add(told[3])
            program.wait(60.0)
        finally:
            program.kill()
    assert program.returncode == 0
    assert len(descriptors) == 1


ENDING = """
import os
from pathlib import Path

from rl_collectors import Collector, Overlap
from rl_envs.testing import CountingEnv

make = CountingEnv
collector = Collector(make, None, frames_per_batch=200, overlap=Overlap(2, start_method="fork"))
collector.rollout()
children = lambda pid: Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
print(*(pid for child in children(os.getpid()) for pid in (child, *children(child))))
"""


def test_a_program_that_ends_without_shutdown(tmp_path: Path) -> None:
    """At the end of a program that shuts nothing down, with batches under way, no worker is left."""
    script = tmp_path / "script.py"
    script.write_text(ENDING)
    result = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    workers = [int(pid) for pid in result.stdout.split()]
    assert len(workers) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
