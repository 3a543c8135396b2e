"""Tests of `rl_envs.parallel`: whatever fails, the user hears of it and nothing is left behind."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from rl_envs import AsyncEnvPool, ClosedEnvError, EnvBase, ParallelEnv, WorkerError, WorkerTimeoutError
from rl_envs.parallel import _segment
from rl_envs.testing import CountingEnv
from rl_specs import FlatDict, TensorMap, Unbounded

HERE = Path(__file__).parent


def _raise() -> NoReturn:
    raise ZeroDivisionError("no such luck")


FAULTS: dict[str, Callable[[], object]] = {
    "raise": _raise,
    "exit": lambda: os._exit(7),
    "sys.exit": lambda: sys.exit("enough"),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "terminate": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "hang": lambda: time.sleep(1000),
    "nothing": lambda: None,
}
HEARD = {
    "raise": "worker 1 raised(.|\n)*ZeroDivisionError: no such luck",
    "exit": "worker 1 ended with exit code 7",
    "sys.exit": "worker 1 raised(.|\n)*SystemExit: enough",
    "kill": "worker 1 was killed by SIGKILL",
    "terminate": "worker 1 was killed by SIGTERM",
}


class FaultyEnv(EnvBase):
    """Fails in its third step, or in its second reset."""

    accepts_mapping = True

    def __init__(self, fault: str, where: str = "step") -> None:
        super().__init__()
        self.observation_spec = Unbounded(shape=(1,))
        self.action_spec = Unbounded(shape=(1,))
        self._fault, self._where = fault, where
        self._calls = {"step": 0, "reset": 1}
        if where == "init":
            FAULTS[fault]()

    def _meet(self, where: str) -> None:
        self._calls[where] += 1
        if where == self._where and self._calls[where] == 3:
            FAULTS[self._fault]()

    def _reset(self, data: TensorMap | None) -> FlatDict:
        self._meet("reset")
        return {"observation": torch.zeros(1)}

    def _step(self, data: TensorMap) -> FlatDict:
        self._meet("step")
        return {"observation": torch.zeros(1), "reward": torch.zeros(1), "done": torch.zeros(1, dtype=torch.bool)}

    def _set_seed(self, seed: int) -> None:
        pass


def faulty(fault: str, where: str = "step", **options: Any) -> ParallelEnv:
    """Three environments, of which the second fails."""
    makers = [lambda: FaultyEnv("nothing"), lambda: FaultyEnv(fault, where), lambda: FaultyEnv("nothing")]
    return ParallelEnv(3, makers, start_method="fork", **options)


@pytest.mark.parametrize("fault", HEARD)
def test_failure_in_a_step(fault: str, leaves_nothing: None, shared_memory: Callable[[], int]) -> None:
    """A worker that raises, exits or is killed in a step is named, with its traceback or its end; all are closed."""
    env = faulty(fault)
    with pytest.raises(WorkerError, match=HEARD[fault]) as caught:
        env.rollout(10)
    assert isinstance(caught.value.__cause__, ZeroDivisionError) == (fault == "raise")
    assert shared_memory() == 0
    with pytest.raises(ClosedEnvError, match="Make a new one"):
        env.reset()
    env.close()


@pytest.mark.parametrize("where", ["reset", "init"])
@pytest.mark.parametrize("fault", ["exit", "kill"])
def test_failure_elsewhere(fault: str, where: str, leaves_nothing: None) -> None:
    """The same in a reset and while the environments are made."""

    def reset_twice() -> None:
        env = faulty(fault, where)
        env.reset()
        env.reset()

    with pytest.raises(WorkerError, match=HEARD[fault]):
        reset_twice()


def test_exception_while_made(leaves_nothing: None) -> None:
    """What making an environment raises is raised as it is, with a note of the worker and its traceback."""
    with pytest.raises(ZeroDivisionError, match=r"no such luck(.|\n)*raised in worker 1(.|\n)*in _raise"):
        faulty("raise", "init")


def test_hang(leaves_nothing: None) -> None:
    """A worker that does not finish within the limit is named and killed."""
    env = faulty("hang", timeout_s=1.0)
    with pytest.raises(WorkerTimeoutError, match="worker 1 did not finish within 1 s") as caught:
        env.rollout(10)
    assert isinstance(caught.value, TimeoutError)
    env.close()


def test_killed_between_steps(leaves_nothing: None, workers_of: Callable[[], list[int]]) -> None:
    """A worker that dies while it has nothing to do is noticed at the next command."""
    env = faulty("nothing")
    env.rollout(2)
    os.kill(workers_of()[1], signal.SIGKILL)
    with pytest.raises(WorkerError, match="worker 1 was killed by SIGKILL"):
        env.rollout(50)
    env.close()


def test_supervisor_killed(
    leaves_nothing: None, descendants_now: Callable[[int], set[int]], is_gone: Callable[[int], bool]
) -> None:
    """Workers whose supervisor is killed end with it, and the error says so."""
    others = descendants_now(os.getpid())
    env = faulty("nothing")
    started = descendants_now(os.getpid()) - others
    supervisor = next(pid for pid in started if _parent(pid) == os.getpid())
    os.kill(supervisor, signal.SIGKILL)
    for worker in started - {supervisor}:
        assert is_gone(worker)
    with pytest.raises(WorkerError, match="supervises the workers was killed by SIGKILL"):
        env.rollout(50)
    env.close()


@pytest.mark.parametrize("how", ["close", "with", "collected"])
def test_end(how: str, leaves_nothing: None) -> None:
    """Closed, left by `with` or collected, it takes its processes, descriptors and memory with it."""
    env = faulty("nothing")
    env.rollout(2)
    if how == "close":
        env.close()
        env.close()
    elif how == "with":
        with env:
            env.rollout(2)
    del env
    gc.collect()


def named_memory(pid: int) -> set[str]:
    """Segments and semaphores with a name that a process has mapped or open."""
    folder = Path(f"/proc/{pid}")
    held = [line.split(maxsplit=5)[-1] for line in (folder / "maps").read_text().splitlines() if "/" in line]
    held += [str(fd.readlink()) for fd in (folder / "fd").iterdir() if fd.is_symlink()]
    return {name for name in held if name.startswith("/dev/shm")}


@pytest.mark.parametrize("start_method", ["fork", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_no_names(start_method: Any, descendants_now: Callable[[int], set[int]]) -> None:
    """No process holds a named segment or semaphore at any time, so that none can stay behind."""
    before = named_memory(os.getpid())  # of other tests
    with (
        ParallelEnv(2, CountingEnv, start_method=start_method) as env,
        AsyncEnvPool([CountingEnv] * 2, backend="multiprocessing", start_method=start_method) as pool,
    ):
        env.rollout(2)
        pool.rollout(2)
        for pid in descendants_now(os.getpid()) | {os.getpid()}:
            assert named_memory(pid) <= before


def test_no_room(leaves_nothing: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for the shared memory, the error says how much is wanted and how much there is."""
    monkeypatch.setattr(_segment, "available_bytes", lambda fd: 100)
    with pytest.raises(MemoryError, match=r"ParallelEnv: no room for shared memory. Expected at most 0.0 MiB"):
        faulty("nothing")


def test_copy_of_the_process(leaves_nothing: None) -> None:
    """A fork of the process that made them can neither use the workers nor end them."""
    env = faulty("nothing")
    pid = os.fork()
    if pid == 0:
        try:
            env.reset()
        except RuntimeError as error:
            env.close()
            os._exit(0 if "another process" in str(error) else 1)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    env.rollout(2)
    env.close()


def in_a_fork(work: Callable[[], object], descendants_now: Callable[[int], set[int]]) -> tuple[int, set[int]]:
    """Run `work` in a fork of this process, in a session of its own, until it writes to its pipe; its processes."""
    ready, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(write, 3)
        try:
            work()
        except KeyboardInterrupt:
            os._exit(42)
        finally:
            os._exit(1)
    os.close(write)
    assert os.read(ready, 1) == b"+"
    os.close(ready)
    return pid, descendants_now(pid)


def _step_into_a_hang() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    env = faulty("hang")
    root = env.rand_action(env.reset())
    env.step(root)
    env.step(root)
    os.write(3, b"+")
    env.step(root)


def ignores(pid: int, number: signal.Signals) -> bool:
    """Whether a signal means nothing to a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigIgn"], 16) >> (number - 1) & 1)


def test_interrupt(descendants_now: Callable[[int], set[int]], is_gone: Callable[[int], bool]) -> None:
    """Ctrl-C reaches the parent alone: it is interrupted at once, and ends the workers, even one that hangs."""
    pid, below = in_a_fork(_step_into_a_hang, descendants_now)
    assert len(below) == 4
    assert all(ignores(process, signal.SIGINT) for process in below)
    os.killpg(pid, signal.SIGINT)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42
    assert all(is_gone(process) for process in below)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_parent_killed(
    number: signal.Signals, descendants_now: Callable[[int], set[int]], is_gone: Callable[[int], bool]
) -> None:
    """When the parent is killed, no worker outlives it, not even one that hangs."""
    pid, below = in_a_fork(_step_into_a_hang, descendants_now)
    assert len(below) == 4
    os.kill(pid, number)
    os.waitpid(pid, 0)
    assert all(is_gone(process) for process in below)


def test_parent_killed_beside_a_copy(
    tmp_path: Path, descendants_now: Callable[[int], set[int]], is_gone: Callable[[int], bool]
) -> None:
    """A copy of the parent, which has its descriptors too, does not keep the workers of a killed parent alive."""
    note = tmp_path / "copy"

    def leave_a_copy() -> None:
        env = faulty("nothing")
        env.reset()
        copy = os.fork()
        if copy:
            note.write_text(str(copy))
            os.write(3, b"+")
        time.sleep(1000)

    pid, below = in_a_fork(leave_a_copy, descendants_now)
    copy = int(note.read_text())
    try:
        assert len(below) == 5
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert all(is_gone(process) for process in below - {copy})
    finally:
        os.kill(copy, signal.SIGKILL)


SCRIPT = """
import os
import torch
from pathlib import Path
from rl_envs import ParallelEnv, SerialEnv, StepCounter, TransformedEnv
from rl_envs.testing import CountingEnv

limit = 3
class Transformed(TransformedEnv):
    pass

make = lambda: Transformed(CountingEnv(max_steps=limit), StepCounter())
def rollout(env):
    torch.manual_seed(0)
    return env.rollout(8, break_when_any_done=False)

env = ParallelEnv(2, make)
assert (rollout(env) == rollout(SerialEnv(2, make))).all()
print(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text())
"""


def test_script(tmp_path: Path, is_gone: Callable[[int], bool]) -> None:
    """A script without a main guard, with classes of its own, that closes nothing: the same data, and no process left.

    Its workers come from a fresh interpreter, as by default.
    """
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    result = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split()
    assert all(is_gone(int(pid)) for pid in result.stdout.split())


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_counting_env_is_unharmed() -> None:
    """A pool that has failed does not keep others from working."""
    with pytest.raises(WorkerError):
        faulty("kill").rollout(10)
    with ParallelEnv(2, CountingEnv, start_method="fork") as env:
        assert env.rollout(3).shape == (2, 3)
