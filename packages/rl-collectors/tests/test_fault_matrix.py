"""Every fault in the worker of overlapped collection: what the learner hears, how soon, and that nothing is left.

Run as a program, this file renews the second table of `docs/faults.md` with what it measures.
"""

import faulthandler
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from tensordict import TensorDictBase
from torch import nn

from rl_collectors import Collector, Overlap
from rl_envs import ClosedEnvError, EnvBase, Transform, TransformedEnv
from rl_envs.testing import CountingEnv

LIMIT_S = 1.0
MOST_S = 60.0
"""What a cell may take on a busy machine; the table has what it takes."""
FRAMES = 4


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
    "hangs, `timeout_s=1`": lambda: time.sleep(1000),
    "memory limit (`RLIMIT_AS`)": _exhaust_memory,
}
HEARD: dict[str, tuple[str, tuple[str, ...]]] = {
    "raises": ("ZeroDivisionError", ("no such luck", "raised in worker 0", "in _raise")),
    "`sys.exit`": ("WorkerError", ("worker 0 raised", "SystemExit: enough")),
    "`os._exit(7)`": ("WorkerError", ("worker 0 ended with exit code 7",)),
    "SIGKILL": ("WorkerError", ("worker 0 was killed by SIGKILL (signal 9)",)),
    "SIGSEGV": ("WorkerError", ("worker 0 was killed by SIGSEGV (signal 11)",)),
    "SIGSTOP, `timeout_s=1`": ("WorkerTimeoutError", ("worker 0 did not finish within 1 s",)),
    "hangs, `timeout_s=1`": ("WorkerTimeoutError", ("worker 0 did not finish within 1 s",)),
    "memory limit (`RLIMIT_AS`)": ("MemoryError", ("raised in worker 0", "in _exhaust_memory")),
}
"""Class of the error of each fault, and what its message and notes have."""
LIVES = ("raises", "`sys.exit`", "memory limit (`RLIMIT_AS`)")
"""Faults after which the worker goes on."""
PLACES = ("environment", "policy")


class Fault(Transform):
    """Meets a fault in the second batch, once.

    Args:
        fault: its name; None: there is none.
    """

    def __init__(self, fault: str | None) -> None:
        super().__init__(["reward"])
        self._fault, self._calls = fault, 0

    def meet(self) -> None:
        """Count a call."""
        self._calls += 1
        if self._fault is not None and self._calls == FRAMES + 2:
            FAULTS[self._fault]()

    def _apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        self.meet()
        return value


class Policy(nn.Module):
    """Zero actions; meets a fault as `Fault` does."""

    def __init__(self, fault: str | None) -> None:
        super().__init__()
        self._fault = Fault(fault)

    def forward(self, data: TensorDictBase) -> TensorDictBase:
        """Zero actions."""
        self._fault.meet()
        return data.set("action", torch.zeros(1))


def make_collector(fault: str, place: str, start_method: Literal["fork", "forkserver", "spawn"] = "fork") -> Collector:
    """Collection one batch ahead, that meets the fault in one of the two places."""
    in_env, in_policy = (fault if place == each else None for each in PLACES)

    def make() -> EnvBase:
        return TransformedEnv(CountingEnv(max_steps=50), Fault(in_env))

    limit = LIMIT_S if "timeout_s" in fault else MOST_S
    overlap = Overlap(1, start_method=start_method, timeout_s=limit)
    policy = None if in_policy is None else Policy(in_policy)
    return Collector(make, policy, frames_per_batch=FRAMES, overlap=overlap)


def meet(collector: Collector) -> tuple[Exception, float]:
    """What the learner hears, and the seconds since it asked for the batch."""
    collector.rollout()
    start = time.monotonic()
    try:
        collector.rollout()
    except Exception as error:
        return error, time.monotonic() - start
    raise AssertionError("nothing was heard of the fault")


def check(fault: str, place: str, start_method: Literal["fork", "forkserver", "spawn"]) -> None:
    """Meet a fault, and look at what the learner hears then and afterwards."""
    collector = make_collector(fault, place, start_method)
    error, seconds = meet(collector)
    assert seconds < MOST_S
    name, parts = HEARD[fault]
    assert type(error).__name__ == name
    text = "\n".join([str(error), *getattr(error, "__notes__", ())])
    for part in parts:
        assert part in text
    if fault in LIVES:
        assert collector.rollout().shape == (FRAMES,)
    else:
        with pytest.raises(ClosedEnvError, match="a failure of a worker closes it too"):
            collector.state_dict()
    start = time.monotonic()
    collector.shutdown()
    assert time.monotonic() - start < MOST_S


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fault", FAULTS)
def test_fault(fault: str, place: str, leaves_nothing: None) -> None:
    """The learner hears within seconds what has happened, with the traceback, exit code or signal, can go on where the
    worker can, and nothing is left.
    """
    check(fault, place, "fork")


@pytest.mark.slow
@pytest.mark.usefixtures("leaves_nothing", "fresh_interpreters_have_this")
@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
@pytest.mark.parametrize("fault", FAULTS)
def test_fault_in_fresh_interpreters(fault: str, start_method: Any) -> None:
    """It is the same however the worker was started."""
    check(fault, "environment", start_method)


def _row(fault: str, place: str) -> str:
    collector = make_collector(fault, place)
    error, seconds = meet(collector)
    collector.shutdown()
    name, (first, *others) = HEARD[fault]
    told = ", ".join([first, *(part for part in others if not part.startswith("in "))])
    after = "collection can go on" if fault in LIVES else "the collector is closed"
    assert type(error).__name__ == name
    return f"| {fault} | {place} | `{name}`: {told}; {after} | {seconds:.2f} |"


def main() -> None:
    """Measure, and renew the table."""
    page = Path(__file__).parents[3] / "docs" / "faults.md"
    lines = ["| fault | in the | outcome | seconds |", "|---|---|---|---|"]
    lines += [_row(fault, place) for fault in FAULTS for place in PLACES]
    begin, end = "<!-- collector table: begin -->\n", "\n<!-- collector table: end -->"
    text = page.read_text()
    before, after = text.split(begin)[0], text.split(end)[1]
    page.write_text(before + begin + "\n".join(lines) + end + after)


if __name__ == "__main__":
    main()
