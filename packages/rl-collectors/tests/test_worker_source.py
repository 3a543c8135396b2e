"""A collector's worker: whatever fails, the user hears of it and nothing is left behind."""

import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tensordict import TensorDictBase

from rl_collectors import Collector, Overlap
from rl_envs import ClosedEnvError, EnvBase, PendulumEnv, StepCounter, TransformedEnv, WorkerError, WorkerTimeoutError


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
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        collector.rollout()
    timer.join()
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
