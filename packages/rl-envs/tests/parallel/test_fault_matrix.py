"""Every fault in every kind of environment that can meet it: what the user hears, how soon, and that nothing is left.

Run as a program, this file renews the table of `docs/faults.md` with what it measures.
"""

import faulthandler
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from rl_envs import AsyncEnvPool, EnvBase, ParallelEnv
from rl_envs.gym._backend import Options
from rl_envs.gym._process import ProcessBackend
from rl_envs.parallel import PoolOptions
from rl_envs.parallel._launch import StartMethod
from rl_envs.parallel._worker import is_worker_process
from rl_envs.testing import CountingEnv
from rl_specs import FlatDict, TensorMap

LIMIT_S = 1.0
MOST_S = 60.0
"""What a cell may take on a busy machine; the table has what it takes."""


def limit_s(fault: str) -> float:
    """The limit of a step: short for the faults that it is to notice, out of the way of the others."""
    return LIMIT_S if "timeout_s" in fault else MOST_S


def _raise() -> None:
    raise ZeroDivisionError("no such luck")


def _crash() -> None:
    faulthandler.disable()  # whose report would go to the output of the tests
    os.kill(os.getpid(), signal.SIGSEGV)


def _exhaust_memory() -> None:
    """Take memory up to a limit of 64 MiB more than there is now, as a small container would have."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (64 << 20), resource.RLIM_INFINITY))
    taken = []
    while True:
        taken.append(bytearray(8 << 20))


FAULTS: dict[str, Callable[[], object]] = {
    "raises": _raise,
    "`sys.exit`": lambda: sys.exit("enough"),
    "`os._exit(7)`": lambda: os._exit(7),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGSEGV": _crash,
    "SIGSTOP, `timeout_s=1`": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "hangs, `timeout_s=1`": lambda: time.sleep(1000 if is_worker_process() else 3 * LIMIT_S),
    "memory limit (`RLIMIT_AS`)": _exhaust_memory,
}
OF_THREADS = ("raises", "`sys.exit`", "hangs, `timeout_s=1`")
"""What ends one thread; the others would end the program itself."""

HEARD = {
    "raises": ("{who} 1 raised", "ZeroDivisionError: no such luck", "in _raise"),
    "`sys.exit`": ("{who} 1 raised", "SystemExit: enough"),
    "`os._exit(7)`": ("{who} 1 ended with exit code 7",),
    "SIGKILL": ("{who} 1 was killed by SIGKILL (signal 9)",),
    "SIGSEGV": ("{who} 1 was killed by SIGSEGV (signal 11)",),
    "SIGSTOP, `timeout_s=1`": ("{who} 1 did not finish within 1 s",),
    "hangs, `timeout_s=1`": ("{who} 1 did not finish within 1 s",),
    "memory limit (`RLIMIT_AS`)": ("{who} 1 raised", "MemoryError", "in _exhaust_memory"),
}
"""What the message of each fault has; `who` is a worker or, in a thread, an environment."""


class FaultyEnv(CountingEnv):  # type: ignore[misc]  # final, and all but the fault as wanted
    """Meets its fault in the third step, once for all processes."""

    def __init__(self, fault: str | None, mark: Path) -> None:
        super().__init__(max_steps=50)
        self._fault, self._mark = fault, mark

    def _step(self, data: TensorMap) -> FlatDict:
        following = super()._step(data)
        if self._fault is not None and float(self._count) == 3 and not self._mark.exists():
            self._mark.touch()
            FAULTS[self._fault]()
        return following


class FaultyGymEnv(gymnasium.Env[Any, Any]):
    """The same for Gymnasium."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, fault: str | None) -> None:
        self._fault = fault

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """The number of steps."""
        super().reset(seed=seed)
        self._steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        """The number of steps."""
        self._steps += 1
        if self._fault is not None and self._steps == 3:
            FAULTS[self._fault]()
        return np.full(1, self._steps, np.float32), 0.0, False, False, {}


def _makers(fault: str, mark: Path) -> list[Callable[[], EnvBase]]:
    return [partial(FaultyEnv, fault if row == 1 else None, mark) for row in range(3)]


def _steps_of(env: EnvBase) -> Iterator[None]:
    root = env.reset()
    try:
        while True:
            yield
            _, root = env.step_and_maybe_reset(env.rand_action(root))
    finally:
        env.close()


def _parallel(fault: str, mark: Path, start_method: StartMethod, **options: Any) -> Iterator[None]:
    makers = _makers(fault, mark)
    return _steps_of(ParallelEnv(3, makers, start_method=start_method, timeout_s=limit_s(fault), **options))


def _gym_processes(fault: str, mark: Path, start_method: StartMethod, restarts: int = 0) -> Iterator[None]:
    makers = [partial(FaultyGymEnv, fault if row == 1 else None) for row in range(3)]
    options = Options(frame_skip=1, from_pixels=False, pixels_only=True, categorical=False)
    pool = PoolOptions("GymEnv", start_method, limit_s(fault), restart_on_failure=restarts)
    backend = ProcessBackend(makers, options, num_processes=3, pool=pool)
    backend.reset(None)
    try:
        while True:
            yield
            backend.step({"action": torch.zeros(3, 1)})
    finally:
        backend.close()


def _threads(fault: str, mark: Path, start_method: StartMethod) -> Iterator[None]:
    return _asynchronous(fault, mark, backend="threading")


def _processes(fault: str, mark: Path, start_method: StartMethod, **options: Any) -> Iterator[None]:
    return _asynchronous(fault, mark, backend="multiprocessing", start_method=start_method, **options)


def _asynchronous(fault: str, mark: Path, **options: Any) -> Iterator[None]:
    pool = AsyncEnvPool(_makers(fault, mark), timeout_s=limit_s(fault), **options)
    root: Any = pool.reset()
    try:
        while True:
            yield
            pool.async_step_and_maybe_reset_send(pool.rand_action(root))
            _, root = pool.async_step_and_maybe_reset_recv(min_get=3)
    finally:
        pool.close()


KINDS: dict[str, Callable[[str, Path, StartMethod], Iterator[None]]] = {
    "`ParallelEnv`": _parallel,
    "`ParallelEnv(restart_on_failure=1)`": partial(_parallel, restart_on_failure=1),
    '`GymEnv(backend="process")`': _gym_processes,
    '`GymEnv(backend="process", restart_on_failure=1)`': partial(_gym_processes, restarts=1),
    '`AsyncEnvPool(backend="multiprocessing")`': _processes,
    '`AsyncEnvPool(backend="multiprocessing", restart_on_failure=1)`': partial(_processes, restart_on_failure=1),
    '`AsyncEnvPool(backend="threading")`': _threads,
}
CELLS = [(fault, kind) for fault in FAULTS for kind in KINDS if "threading" not in kind or fault in OF_THREADS]


def meet(fault: str, kind: str, mark: Path, start_method: StartMethod = "fork") -> tuple[Exception | None, float]:
    """What a user of this environment hears of the fault, and the seconds that it took with the end of all workers."""
    steps = KINDS[kind](fault, mark, start_method)
    for _ in range(3):
        next(steps)
    start = time.monotonic()
    error: Exception | None = None
    try:
        next(steps)
        next(steps)
    except Exception as caught:
        error = caught
    steps.close()  # type: ignore[attr-defined]  # of a generator
    return error, time.monotonic() - start


@pytest.mark.parametrize(("fault", "kind"), CELLS)
def test_fault(fault: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The user hears within seconds who failed, with the traceback, exit code or signal, or the worker is replaced, and
    no process, descriptor or memory is left.
    """
    if "threading" not in kind:
        request.getfixturevalue("leaves_nothing")
    threads = threading.active_count()
    error, seconds = meet(fault, kind, tmp_path / "mark")
    assert seconds < MOST_S
    while (
        threading.active_count() > threads
    ):  # a thread that hangs cannot be ended, and this one does not hang for ever
        time.sleep(0.05)
    check_outcome(fault, kind, error)


@pytest.mark.slow
@pytest.mark.usefixtures("leaves_nothing", "fresh_interpreters_have_this")
@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
@pytest.mark.parametrize(("fault", "kind"), [(fault, kind) for fault, kind in CELLS if "threading" not in kind])
def test_fault_in_fresh_interpreters(fault: str, kind: str, start_method: StartMethod, tmp_path: Path) -> None:
    """It is the same however the workers were started."""
    error, seconds = meet(fault, kind, tmp_path / "mark", start_method)
    assert seconds < MOST_S
    check_outcome(fault, kind, error)


def check_outcome(fault: str, kind: str, error: Exception | None) -> None:
    """Whether that is what the user is to hear."""
    if "restart" in kind:
        assert error is None
        return
    who = "environment" if "threading" in kind else "worker"
    assert type(error).__name__ in ("WorkerError", "WorkerTimeoutError")
    for part in HEARD[fault]:
        assert part.format(who=who) in str(error)


def _outcome(fault: str, kind: str, error: Exception | None) -> str:
    if error is None:
        return "started anew; its episode truncated, the others unharmed"
    parts = [part.format(who="environment" if "threading" in kind else "worker") for part in HEARD[fault]]
    told = [parts[0], *("traceback with " + part for part in parts[1:] if not part.startswith("in "))]
    return f"`{type(error).__name__}`: {', '.join(told)}"


def _table(folder: Path) -> str:
    lines = ["| fault | environment | outcome | seconds |", "|---|---|---|---|"]
    for number, (fault, kind) in enumerate(CELLS):
        error, seconds = meet(fault, kind, folder / str(number))
        lines.append(f"| {fault} | {kind} | {_outcome(fault, kind, error)} | {seconds:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and renew the table."""
    page = Path(__file__).parents[4] / "docs" / "faults.md"
    with tempfile.TemporaryDirectory() as folder:
        table = _table(Path(folder))
    begin, end = "<!-- table: begin -->\n", "\n<!-- table: end -->"
    text = page.read_text()
    before, after = text.split(begin)[0], text.split(end)[1]
    page.write_text(before + begin + table + end + after)


if __name__ == "__main__":
    main()
