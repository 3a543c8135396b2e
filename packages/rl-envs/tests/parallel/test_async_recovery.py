"""Workers of an asynchronous pool that are started anew while others are at work."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import NonTensorData, TensorDictBase

from rl_envs import AsyncEnvPool, EnvBase
from rl_envs.testing import CountingEnv
from rl_specs import Composite, FlatDict, NonTensor, TensorMap, Unbounded


class Ordered(EnvBase):
    """Counts its steps from 10 times its number; an order makes it sleep, or end its process.

    Args:
        number: of the environment.
        folder: has a file of this number while the order stands.
        has_text: says "step n" too, in more letters than a pipe holds.
    """

    accepts_mapping = True

    def __init__(self, number: int, folder: Path, has_text: bool = False) -> None:
        super().__init__()
        entries: dict[str, Any] = {"count": Unbounded(shape=(1,))}
        if has_text:
            entries["said"] = NonTensor(shape=(), example_data="")
        self.observation_spec = Composite(entries)
        self.action_spec = Unbounded(shape=(1,))
        self.reward_spec = Unbounded(shape=(1,))
        self._number, self._order, self._has_text = number, folder / str(number), has_text
        self._count = 0

    def _observed(self) -> FlatDict:
        count = torch.tensor([10.0 * self._number + self._count])
        said: Any = NonTensorData(f"step {self._count}".ljust(200_000))
        return {"count": count, "said": said} if self._has_text else {"count": count}

    def _reset(self, data: TensorMap | None) -> FlatDict:
        self._count = 0
        return self._observed()

    def _step(self, data: TensorMap) -> FlatDict:
        if self._order.exists():
            order = self._order.read_text()
            self._order.unlink()
            if order == "sleep":
                time.sleep(1000)
            os.kill(os.getpid(), signal.SIGKILL)
        self._count += 1
        return {**self._observed(), "reward": torch.ones(1), "terminated": torch.zeros(1, dtype=torch.bool)}

    def _set_seed(self, seed: int) -> None:
        """Nothing is drawn."""


def _pool(folder: Path, count: int = 4, *, has_text: bool = False, **options: Any) -> AsyncEnvPool:
    kwargs = [{"number": number, "folder": folder, "has_text": has_text} for number in range(count)]
    settings: dict[str, Any] = {"start_method": "fork", "num_processes": 2, "restart_on_failure": 2, **options}
    return AsyncEnvPool([Ordered] * count, backend="multiprocessing", create_env_kwargs=kwargs, **settings)


def _sent(root: TensorDictBase, rows: list[int]) -> TensorDictBase:
    """These rows of a root, with actions."""
    chosen: TensorDictBase = root[rows].clone()
    chosen["action"] = torch.zeros(len(rows), 1)
    chosen["env_index"] = torch.tensor(rows)
    return chosen


def _numbers(data: TensorDictBase, *key: str) -> list[float]:
    numbers: list[float] = data[key if len(key) > 1 else key[0]].flatten().tolist()
    return numbers


@pytest.mark.usefixtures("leaves_nothing")
@pytest.mark.parametrize("order", ["die", "sleep"])
@pytest.mark.parametrize("has_text", [False, True])
def test_all_that_was_asked_is_answered(tmp_path: Path, has_text: bool, order: str) -> None:
    """Two environments share the worker that fails: the one that was asked and the one that waits behind it are
    answered by the ends of their episodes and first observations; the other worker's by their steps.
    """
    with _pool(tmp_path, has_text=has_text, timeout_s=1.0 if order == "sleep" else 60.0) as pool:
        _, root = pool.step_and_maybe_reset(pool.rand_action(pool.reset()))
        (tmp_path / "0").write_text(order)
        pool.async_step_and_maybe_reset_send(_sent(root, [0, 1, 2, 3]))
        stepped, following = pool.async_step_and_maybe_reset_recv(4)
        pool.async_step_and_maybe_reset_send(_sent(following, [0, 1, 2, 3]))
        later, _ = pool.async_step_and_maybe_reset_recv(4)
    assert _numbers(stepped, "next", "count") == [1.0, 11.0, 22.0, 32.0]
    assert _numbers(stepped, "next", "truncated") == [True, True, False, False]
    assert _numbers(stepped, "next", "done") == [True, True, False, False]
    assert _numbers(stepped, "next", "reward") == [0.0, 0.0, 1.0, 1.0]
    assert _numbers(following, "count") == [0.0, 10.0, 22.0, 32.0]
    assert _numbers(later, "next", "count") == [1.0, 11.0, 23.0, 33.0]
    assert not any(_numbers(later, "next", "done"))
    if has_text:
        parts = (stepped["next"], following, later["next"])
        said = [[data["said"][row].rstrip() for row in range(4)] for data in parts]
        assert said[0] == ["step 1", "step 1", "step 2", "step 2"]
        assert said[1] == ["step 0", "step 0", "step 2", "step 2"]
        assert said[2] == ["step 1", "step 1", "step 3", "step 3"]


@pytest.mark.usefixtures("leaves_nothing")
def test_an_idle_neighbour_hears_of_it_when_it_steps(tmp_path: Path) -> None:
    """An environment of the same worker that had nothing to do ends its episode with its next step, and once."""
    with _pool(tmp_path) as pool:
        root = pool.reset()
        (tmp_path / "0").write_text("die")
        pool.async_step_send(_sent(root, [0]))
        assert _numbers(pool.async_step_recv(), "next", "truncated") == [True]
        pool.async_step_send(_sent(root, [1, 2]))
        found = pool.async_step_recv(2)
        assert _numbers(found, "next", "truncated") == [True, False]
        assert _numbers(found, "next", "count") == [10.0, 21.0]
        pool.async_reset_send(_sent(root, [0, 1]))
        fresh = pool.async_reset_recv(2)
        assert _numbers(fresh, "count") == [0.0, 10.0]
        pool.async_step_send(_sent(fresh, [0, 1]))
        assert not any(_numbers(pool.async_step_recv(2), "next", "done"))


@pytest.mark.usefixtures("leaves_nothing")
def test_a_reset_that_was_lost_is_asked_for_again(tmp_path: Path) -> None:
    """A reset behind the step in which the worker ends begins a whole episode."""
    with _pool(tmp_path) as pool:
        root = pool.reset()
        (tmp_path / "0").write_text("die")
        pool.async_step_send(_sent(root, [0]))
        pool.async_reset_send(_sent(root, [1]))
        fresh = pool.async_reset_recv()
        assert _numbers(fresh, "count") == [10.0]
        pool.async_step_send(fresh.set("action", torch.zeros(1, 1)))
        found = pool.async_step_recv(2)
        assert _numbers(found, "next", "truncated") == [True, False]
        assert _numbers(found, "next", "count") == [0.0, 11.0]


@pytest.mark.usefixtures("leaves_nothing")
@pytest.mark.parametrize("has_text", [False, True])
def test_a_worker_that_ended_with_nothing_to_do(
    tmp_path: Path, has_text: bool, workers_of: Callable[[], list[int]]
) -> None:
    """It is missed at the next request, which the new one answers."""
    with _pool(tmp_path, has_text=has_text) as pool:
        root = pool.reset()
        os.kill(workers_of()[0], signal.SIGKILL)
        stepped, root = pool.step_and_maybe_reset(pool.rand_action(root))
        assert _numbers(stepped, "next", "truncated") == [True, True, False, False]
        assert _numbers(root, "count") == [0.0, 10.0, 21.0, 31.0]


def test_threads_are_not_started_anew() -> None:
    """A thread cannot be replaced."""
    with pytest.raises(ValueError, match=r'restart_on_failure is of no use to threads.*backend="multiprocessing"'):
        AsyncEnvPool([CountingEnv] * 2, restart_on_failure=1)


@pytest.mark.usefixtures("leaves_nothing")
def test_an_end_that_is_met_while_sending(tmp_path: Path, workers_of: Callable[[], list[int]]) -> None:
    """A worker that is found dead by a request larger than its pipe is replaced, though no other says anything."""
    with _pool(tmp_path, has_text=True, timeout_s=20.0) as pool:
        root = pool.reset()
        os.kill(workers_of()[0], signal.SIGKILL)
        started = time.monotonic()
        pool.async_reset_send(_sent(root, [0]))
        assert _numbers(pool.async_reset_recv(), "count") == [0.0]
        assert time.monotonic() - started < 15.0
