"""Tests of `rl_envs.parallel._failures`: who, what has happened, and what to do about it."""

import signal

import pytest

from rl_envs.parallel._failures import died, timed_out

MEMORY = "ran out of memory"
CRASH = "crash in native code"


@pytest.mark.parametrize(
    ("status", "told", "fix"),
    [
        (3 << 8, "worker 2 ended with exit code 3", CRASH),
        (signal.SIGKILL, "worker 2 was killed by SIGKILL (signal 9)", MEMORY),
        (signal.SIGTERM, "worker 2 was killed by SIGTERM (signal 15)", MEMORY),
        (signal.SIGSEGV, "worker 2 was killed by SIGSEGV (signal 11)", CRASH),
        (signal.SIGABRT | 0x80, "worker 2 was killed by SIGABRT (signal 6)", CRASH),
    ],
)
def test_a_worker_that_ended(status: int, told: str, fix: str) -> None:
    """Exit code or signal are told, and where to look: what kills from outside is not what a program does to itself."""
    text = str(died("Pool", {2: status}))
    assert text.startswith(f"Pool: {told}, and all workers were closed")
    assert fix in text
    assert (MEMORY in text) != (CRASH in text)


def test_several_workers_that_ended() -> None:
    """All of them are told, in order."""
    text = str(died("Pool", {3: signal.SIGKILL, 1: 7 << 8}))
    assert "worker 1 ended with exit code 7, worker 3 was killed by SIGKILL (signal 9)" in text
    assert MEMORY in text


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (0, "supervises the workers ended, and all workers with it. Look whether the system ran out of memory"),
        (1 << 8, "supervises the workers ended with exit code 1, and all workers with it. Look at what it has written"),
        (signal.SIGKILL, "was killed by SIGKILL (signal 9), and all workers with it. Look whether the system ran out"),
    ],
)
def test_a_supervisor_that_ended(status: int, told: str) -> None:
    """So is what is known of a supervisor; what it has raised stands in the output."""
    assert told in str(died("Pool", {}, supervisor_status=status))


def test_workers_that_are_late() -> None:
    """The limit is told, and how to change it."""
    text = str(timed_out("Pool", [0, 4], 1.5))
    assert text.startswith("Pool: workers 0, 4 did not finish within 1.5 s, and all workers were killed")
    assert "timeout_s" in text
