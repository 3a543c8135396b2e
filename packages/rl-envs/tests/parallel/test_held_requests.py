"""Tests of `rl_envs.parallel._held_requests`."""

from functools import partial
from typing import Any

import cloudpickle  # type: ignore[import-untyped]  # ships no types
import pytest

from rl_envs.parallel import PoolOptions, Table, Task, WorkerPool
from rl_envs.parallel._held_requests import HeldRequests


class Echo(Task):
    """Answers with what it is asked."""

    def describe(self) -> None:
        """Nothing."""

    def connect(self, table: Table) -> None:
        """Nothing."""

    def step(self) -> None:
        """Nothing."""

    def reset(self, *, is_partial: bool) -> None:
        """Nothing."""

    def call(self, method: str, argument: Any) -> Any:
        """The argument."""
        return argument

    def close(self) -> None:
        """Nothing."""


@pytest.mark.parametrize("size", [1, 1000, 300_000])
def test_requests_of_any_size(size: int, leaves_nothing: None) -> None:
    """Many requests are sent before any answer is taken, and answered in order, though neither pipe can hold them."""
    options = PoolOptions("Test", start_method="fork", timeout_s=60.0)
    pool = WorkerPool([partial(Echo), partial(Echo)], options)
    held = HeldRequests(pool, 2)
    for worker in (0, 1):
        for number in range(20):
            held.send(worker, cloudpickle.dumps(("echo", (number, "x" * size))))
    found: list[list[int]] = [[], []]
    while any(len(numbers) < 20 for numbers in found):
        for worker, (number, text) in pool.ready([0, 1], 60.0):
            assert len(text) == size
            found[worker].append(number)
            held.note_answer(worker)
    assert found == [list(range(20))] * 2
    pool.close()


def test_small_requests_do_not_wait(leaves_nothing: None) -> None:
    """Requests that fit in a pipe together are all sent at once; of larger ones one at a time is."""
    sent: list[tuple[int, bytes]] = []

    class Recorder:
        """Takes note of what is sent."""

        def request(self, worker: int, payload: bytes) -> None:
            """Take note."""
            sent.append((worker, payload))

    recorder: Any = Recorder()
    held = HeldRequests(recorder, 2)
    for number in range(4):
        held.send(0, bytes([number]) * 1000)
    assert len(sent) == 4
    held.send(0, b"x" * 1000)  # 5,000 bytes together
    held.send(1, b"y" * 9000)
    held.send(1, b"z")
    assert sent[4:] == [(1, b"y" * 9000)]
    held.note_answer(0)
    assert sent[5:] == [(0, b"x" * 1000)]
    held.note_answer(1)
    assert sent[6:] == [(1, b"z")]
