"""Tests of `rl_envs.parallel._orphans`: what workers have started ends with them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rl_envs import EnvBase, ParallelEnv, WorkerError
from rl_envs.testing import CountingEnv
from rl_specs import FlatDict, TensorMap

FORMS = ["plain", "session", "daemon"]
DAEMON = """
import subprocess
quiet = subprocess.DEVNULL
print(subprocess.Popen(["sleep", "1000"], start_new_session=True, stdout=quiet, stderr=quiet).pid)
"""


def start_process(form: str) -> int:
    """A process that goes on and on, in this process's group, in a session of its own, or without a parent."""
    if form == "daemon":
        return int(subprocess.run([sys.executable, "-c", DAEMON], capture_output=True, check=True).stdout)
    return subprocess.Popen(["sleep", "1000"], start_new_session=form == "session").pid


class GameEnv(CountingEnv):  # type: ignore[misc]  # final, and all but the process as wanted
    """Plays against a process that it leaves behind; ends itself in the third step, if it is to."""

    def __init__(self, pids: Path, form: str, *, ends: bool = False) -> None:
        super().__init__(max_steps=50)
        self._ends = ends
        (pids / str(start_process(form))).touch()

    def _step(self, data: TensorMap) -> FlatDict:
        if self._ends and float(self._count) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._step(data)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[[], list[int]]]:
    """Numbers of the processes that were started; none of them survives the test."""

    def pids() -> list[int]:
        return [int(path.name) for path in tmp_path.iterdir()]

    yield pids
    for pid in pids():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", ["close", "fault"])
def test_nothing_outlives_the_workers(
    how: str, form: str, tmp_path: Path, started: Callable[[], list[int]], is_gone: Callable[[int], bool]
) -> None:
    """What environments start and do not end is gone with the pool, closed or broken."""
    makers: list[Callable[[], EnvBase]] = [lambda: GameEnv(tmp_path, form), lambda: GameEnv(tmp_path, form, ends=True)]
    env = ParallelEnv(2, makers, start_method="fork")
    env.rollout(1)
    assert len(started()) == 2
    if how == "fault":
        with pytest.raises(WorkerError, match="SIGKILL"):
            env.rollout(5)
    env.close()
    assert all(is_gone(pid) for pid in started())


@pytest.mark.parametrize("form", FORMS)
def test_nothing_outlives_the_program(
    form: str,
    tmp_path: Path,
    started: Callable[[], list[int]],
    is_gone: Callable[[int], bool],
) -> None:
    """Nor does it outlive a program that is killed."""
    pid = os.fork()
    if pid == 0:
        try:
            ParallelEnv(1, lambda: GameEnv(tmp_path, form), start_method="fork").rollout(1)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    os.waitpid(pid, 0)
    assert len(started()) == 1
    assert all(is_gone(each) for each in started())


def test_of_a_worker_that_is_started_anew(
    tmp_path: Path, started: Callable[[], list[int]], is_gone: Callable[[int], bool]
) -> None:
    """What a failed worker had started is gone when the next one begins; the others keep theirs."""
    makers: list[Callable[[], EnvBase]] = [
        lambda: GameEnv(tmp_path, "plain"),
        lambda: GameEnv(tmp_path, "plain", ends=True),
    ]
    env = ParallelEnv(2, makers, start_method="fork", restart_on_failure=1)
    first = started()
    env.rollout(4, break_when_any_done=False)
    assert len(started()) == 3
    assert sum(Path(f"/proc/{pid}").exists() for pid in first) == 1
    env.close()
    assert all(is_gone(pid) for pid in started())


@pytest.mark.parametrize("who", ["worker", "supervisor", "both"])
def test_the_stopped_do_not_hold_up_the_end(
    who: str, leaves_nothing: None, workers_of: Callable[[], list[int]]
) -> None:
    """Processes that were stopped go on to their end when they are told to quit."""
    env = ParallelEnv(2, CountingEnv, start_method="fork")
    env.rollout(2)
    worker = workers_of()[0]
    supervisor = int(Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[1])
    for name, pid in (("worker", worker), ("supervisor", supervisor)):
        if who in (name, "both"):
            os.kill(pid, signal.SIGSTOP)
    start = time.monotonic()
    env._pool.close(grace_s=600.0)  # after which they would be killed
    assert time.monotonic() - start < 60.0
    env.close()
