"""Tests of `rl_envs.parallel._recovery` and `rl_envs.parallel._broken_episodes`: workers that are started anew."""

import logging
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from tensordict import TensorDictBase

from rl_envs import (
    AsyncEnvPool,
    EnvBase,
    ParallelEnv,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    WorkerError,
    WorkerTimeoutError,
)
from rl_envs.parallel import PoolOptions
from rl_envs.testing import CountingEnv
from rl_specs import Composite, FlatDict, TensorMap, Unbounded

STEPS = 12
FAULT_STEP = 5


def _raise() -> None:
    raise ZeroDivisionError("no such luck")


FAULTS: dict[str, Callable[[], object]] = {
    "raise": _raise,
    "exit": lambda: os._exit(7),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "hang": lambda: time.sleep(1000),
}
TOLD = {
    "raise": r"worker 1 raised, and is started anew \(1 of 2\)(.|\n)*ZeroDivisionError: no such luck",
    "exit": r"worker 1 ended with exit code 7, and is started anew \(1 of 2\)",
    "kill": r"worker 1 was killed by SIGKILL \(signal 9\), and is started anew \(1 of 2\)",
    "stop": r"worker 1 did not finish within 1 s, and is started anew \(1 of 2\)",
    "hang": r"worker 1 did not finish within 1 s, and is started anew \(1 of 2\)",
}


class WalkEnv(EnvBase):
    """A random walk, `[*B]`, pushed by the action; meets a fault once, in one of its calls, if it has one.

    Args:
        marks: a folder in which every call leaves a mark, the same for all processes; None: no fault.
        fault: name of the fault.
        where: in which of its methods it is met.
        times: how often.
        batch_size: of the walk.
    """

    accepts_mapping = True

    def __init__(
        self,
        marks: Path | None = None,
        fault: str = "raise",
        *,
        where: str = "_step",
        times: int = 1,
        batch_size: tuple[int, ...] = (),
    ) -> None:
        super().__init__(batch_size=batch_size)
        shape = (*batch_size, 1)
        self.observation_spec = Composite({"a": {"place": Unbounded(shape=shape)}}, shape=batch_size)
        self.action_spec = Unbounded(shape=shape)
        self.reward_spec = Composite({"a": {"reward": Unbounded(shape=shape)}}, shape=batch_size)
        self._marks, self._fault, self._where, self._times = marks, fault, where, times
        self._place = torch.zeros(shape)
        self._steps = torch.zeros(shape)
        self._generator = torch.Generator().manual_seed(0)
        self._meet("init")

    def _meet(self, where: str) -> None:
        if self._marks is None:
            return
        count = len(list(self._marks.glob(f"{where}*")))
        (self._marks / f"{where}{count}").touch()
        if where == self._where and FAULT_STEP <= count < FAULT_STEP + self._times:
            FAULTS[self._fault]()

    def _reset(self, data: TensorMap | None) -> FlatDict:
        self._meet("_reset")
        fresh = torch.rand(self._place.shape, generator=self._generator)
        mask = torch.ones_like(fresh, dtype=torch.bool) if data is None else data["_reset"]
        self._place = torch.where(mask, fresh, self._place)
        self._steps = torch.where(mask, 0.0, self._steps)
        return {("a", "place"): self._place.clone()}

    def _step(self, data: TensorMap) -> FlatDict:
        self._meet("_step")
        self._steps = self._steps + 1
        self._place = self._place + data["action"] + torch.rand(self._place.shape, generator=self._generator)
        return {
            ("a", "place"): self._place.clone(),
            ("a", "reward"): self._place * 2,
            "terminated": self._steps >= 8,
            "truncated": torch.zeros_like(self._steps, dtype=torch.bool),
        }

    def _set_seed(self, seed: int) -> None:
        self._generator.manual_seed(seed)


Many: TypeAlias = Callable[..., EnvBase]
"""Environments in workers, from what `ParallelEnv` takes."""


def _asynchronous(count: int, make: Any, **options: Any) -> EnvBase:
    makers = make if isinstance(make, list) else [make] * count
    return AsyncEnvPool(makers, backend="multiprocessing", **options)


@pytest.fixture(params=["ParallelEnv", "AsyncEnvPool"])
def many(request: pytest.FixtureRequest) -> Many:
    """Makes environments that are stepped all at once, or as they become ready."""
    return ParallelEnv if request.param == "ParallelEnv" else _asynchronous


def walks(many: Many, marks: Path | None, fault: str = "raise", *, restarts: int = 2, **options: Any) -> EnvBase:
    """Three walks, of which the second meets a fault."""
    where, times = options.pop("where", "_step"), options.pop("times", 1)
    batch_size = options.pop("batch_size", ())
    return many(
        3,
        WalkEnv,
        create_env_kwargs=[
            {"batch_size": batch_size},
            {"marks": marks, "fault": fault, "where": where, "times": times, "batch_size": batch_size},
            {"batch_size": batch_size},
        ],
        start_method=options.pop("start_method", "fork"),
        restart_on_failure=restarts,
        **options,
    )


def seeded_rollout(env: EnvBase, steps: int = STEPS) -> TensorDictBase:
    """Random actions, across resets."""
    torch.manual_seed(0)
    env.set_seed(5)
    return env.rollout(steps, break_when_any_done=False)


def assert_same_rows(found: TensorDictBase, expected: TensorDictBase, rows: list[int]) -> None:
    """Bit for bit."""
    assert (found[rows] == expected[rows]).all()


def assert_broken_off(steps: TensorDictBase, time: int) -> None:
    """One row `[T]` ends an episode at this step, as broken episodes end."""
    assert torch.equal(steps["next", "a", "place"][time], steps["a", "place"][time])
    assert not steps["next", "a", "reward"][time].any()
    flags = [bool(steps["next", name][time].all()) for name in ("done", "truncated", "terminated")]
    assert flags == [True, True, False]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_others_do_not_notice(
    many: Many, fault: str, tmp_path: Path, leaves_nothing: None, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that fails is started anew: its episode is truncated there, the other rows are what they were bit for
    bit, it goes on afterwards, and the log says what has happened.
    """
    expected = seeded_rollout(SerialEnv(3, WalkEnv))
    start = time.monotonic()
    limit_s = 1.0 if fault in ("stop", "hang") else 60.0
    with caplog.at_level(logging.WARNING, "rl_envs.parallel"), walks(many, tmp_path, fault, timeout_s=limit_s) as env:
        found = seeded_rollout(env)
    assert time.monotonic() - start < 60.0
    assert_same_rows(found, expected, [0, 2])
    assert_same_rows(found[:, :FAULT_STEP], expected[:, :FAULT_STEP], [1])
    assert_broken_off(found[1], FAULT_STEP)
    assert not found[1]["next", "done"][FAULT_STEP + 1 :].any()
    assert len(caplog.records) == 1
    assert len(re.findall("(ParallelEnv|AsyncEnvPool): worker", caplog.text)) == 1
    assert re.search(TOLD[fault], caplog.text)


@pytest.mark.parametrize("fault", ["raise", "kill"])
def test_two_at_once(many: Many, fault: str, tmp_path: Path, leaves_nothing: None) -> None:
    """Workers that fail in the same step are both started anew, and nothing of that round disturbs those after it."""
    folders = [tmp_path / "0", tmp_path / "1"]
    for folder in folders:
        folder.mkdir()
    options = [{"marks": folder, "fault": fault} for folder in folders]
    expected = seeded_rollout(SerialEnv(3, WalkEnv), 30)
    env = many(
        3,
        WalkEnv,
        create_env_kwargs=[*options, {}],
        start_method="fork",
        timeout_s=30.0,
        restart_on_failure=1,
    )
    with env:
        found = seeded_rollout(env, 30)
    assert_same_rows(found, expected, [2])
    for row in (0, 1):
        assert_same_rows(found[:, :FAULT_STEP], expected[:, :FAULT_STEP], [row])
        assert_broken_off(found[row], FAULT_STEP)
        assert found[row]["next", "truncated"].sum() == 1


def test_streams_begin_anew(many: Many, tmp_path: Path) -> None:
    """What is started anew draws from its stream from the start: the first draws went into a reset that nobody sees."""
    with walks(many, tmp_path) as env:
        found = seeded_rollout(env)
    fresh = SerialEnv(3, WalkEnv)
    fresh.set_seed(5)
    fresh.reset()
    start = fresh.reset()["a", "place"][1]
    assert torch.equal(found["a", "place"][1, FAULT_STEP + 1], start)
    assert not torch.equal(found["a", "place"][1, 0], start)


@pytest.mark.parametrize("fault", ["raise", "kill"])
def test_too_many_failures(many: Many, fault: str, tmp_path: Path, leaves_nothing: None) -> None:
    """When a worker has been started anew as often as allowed, its next failure is the error that it is without."""
    env = walks(many, tmp_path, fault, restarts=1, times=2)
    text = "worker 1 raised, and all workers were closed" if fault == "raise" else "worker 1 was killed by SIGKILL"
    with pytest.raises(WorkerError, match=text):
        seeded_rollout(env)
    env.close()


def test_a_time_limit_after_too_many_failures(many: Many, tmp_path: Path, leaves_nothing: None) -> None:
    """A worker that hangs once too often is told with its limit."""
    env = walks(many, tmp_path, "hang", restarts=1, times=2, timeout_s=0.5)
    with pytest.raises(WorkerTimeoutError, match=r"worker 1 did not finish within 0\.5 s, and all workers were killed"):
        seeded_rollout(env)


@pytest.mark.parametrize("fault", ["raise", "exit", "hang"])
def test_in_a_reset(many: Many, fault: str, tmp_path: Path, leaves_nothing: None) -> None:
    """A worker that fails in the reset of its rows gives fresh ones instead, and the others go on as they were."""
    expected = seeded_rollout(SerialEnv(3, WalkEnv), 60)
    with walks(many, tmp_path, fault, where="_reset", timeout_s=1.0 if fault == "hang" else 60.0) as env:
        found = seeded_rollout(env, 60)
    assert_same_rows(found, expected, [0, 2])
    assert len(list(tmp_path.glob("_reset*"))) > FAULT_STEP + 1
    assert not found["next", "truncated"].any()


def test_earlier_data_after_a_reset_that_failed(
    many: Many, tmp_path: Path, leaves_nothing: None, workers_of: Callable[[], list[int]]
) -> None:
    """What a step returned before a worker was started anew in a reset can be stepped from: it is handed over anew."""
    with walks(many, None, restarts=1) as env:
        earlier = env.step_mdp(env.rand_step(env.reset()))
        os.kill(workers_of()[1], signal.SIGKILL)
        env.reset(earlier.clone().set("_reset", torch.tensor([[False], [True], [False]])))
        assert env.step(env.rand_action(earlier))["next", "a", "place"].shape == (3, 1)


@pytest.mark.usefixtures("leaves_nothing")
def test_who_was_started_anew_is_not_late(many: Many, workers_of: Callable[[], list[int]]) -> None:
    """After a restart, a time limit is that of the worker that is late alone."""
    with walks(many, None, restarts=1, timeout_s=3.0) as env:
        root: TensorDictBase = env.reset()
        os.kill(workers_of()[1], signal.SIGKILL)
        _, root = env.step_and_maybe_reset(env.rand_action(root))
        os.kill(workers_of()[0], signal.SIGSTOP)
        stepped = env.step(env.rand_action(root))
        assert stepped["next", "truncated"].flatten().tolist() == [True, False, False]


@pytest.mark.parametrize("how", ["step", "reset of others", "reset of its rows", "seed"])
def test_ended_with_nothing_to_do(
    many: Many, how: str, tmp_path: Path, leaves_nothing: None, workers_of: Callable[[], list[int]]
) -> None:
    """A worker that is killed between two steps is started anew at the next command: its episode ends with the next
    step, unless that command was its reset.
    """
    with walks(many, None, restarts=1) as env:
        env.set_seed(5)
        stepped, root = env.step_and_maybe_reset(env.rand_action(env.reset()))
        os.kill(workers_of()[1], signal.SIGKILL)
        if how.startswith("reset"):
            rows = [1] if how == "reset of its rows" else [0, 2]
            mask = torch.tensor([row in rows for row in range(3)])
            root = env.reset(root.clone().set("_reset", mask))
        elif how == "seed":
            env.set_seed(6)
        following, _ = env.step_and_maybe_reset(env.rand_action(root))
        done = following["next", "done"].flatten().tolist()
        assert done == [False, how != "reset of its rows", False]
        if how != "reset of its rows":
            assert torch.equal(following["next", "a", "place"][1], stepped["next", "a", "place"][1])
            assert following["next", "truncated"][1]
        env.rollout(10, break_when_any_done=False)


def test_several_environments_of_one_worker(many: Many, tmp_path: Path) -> None:
    """The episodes of all environments of a failed worker are broken, batched ones in every row, and no others."""
    expected = seeded_rollout(SerialEnv(3, WalkEnv, create_env_kwargs={"batch_size": (2,)}))
    with walks(many, tmp_path, num_processes=2, batch_size=(2,)) as env:
        found = seeded_rollout(env)
    assert_same_rows(found, expected, [0])
    for row in (1, 2):
        for inner in range(2):
            assert_broken_off(found[row, inner], FAULT_STEP)


def test_mode_and_state_are_those_set_last(many: Many, tmp_path: Path) -> None:
    """What is started anew is in the mode that was set, and begins from what was loaded into it."""

    def make(fault: bool) -> EnvBase:
        return TransformedEnv(WalkEnv(tmp_path if fault else None, "kill"), StepCounter())

    makers = [lambda: make(False), lambda: make(True)]
    with many(2, makers, start_method="fork", restart_on_failure=1) as env:
        env.eval()
        found = seeded_rollout(env)
        assert found["next", "truncated"][1].sum() == 1
        assert found["step_count"][1].flatten().tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]


def test_a_state_mends_a_broken_episode(many: Many, workers_of: Callable[[], list[int]]) -> None:
    """An episode that was lost goes on where a state is set."""
    make = lambda: CountingEnv(max_steps=50)  # noqa: E731
    with many(2, make, start_method="fork", restart_on_failure=1) as env:
        root = env.step_and_maybe_reset(env.rand_action(env.reset()))[1]
        state = env.get_state()
        os.kill(workers_of()[0], signal.SIGKILL)
        env.set_state(state)
        following = env.step(env.rand_action(root))["next"]
        assert following["observation"].tolist() == [[2.0], [2.0]]
        assert not following["done"].any()


def test_failing_while_it_is_started_anew(many: Many, tmp_path: Path, leaves_nothing: None) -> None:
    """A failure in the making of the new environments counts, and is told when it is one too many."""

    class Fussy(WalkEnv):
        """Cannot be made a second time."""

        def __init__(self) -> None:
            super().__init__(tmp_path, "kill")
            if len(list(tmp_path.glob("init*"))) > 1:
                raise OSError("no second one")

    env = many(2, [WalkEnv, Fussy], start_method="fork", restart_on_failure=3)
    with pytest.raises(WorkerError, match=r"worker 1 raised(.|\n)*no second one"):
        seeded_rollout(env)
    assert len(list(tmp_path.glob("init*"))) == 4


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_interpreters_have_this")
@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
def test_fresh_interpreters(many: Many, start_method: str, tmp_path: Path, leaves_nothing: None) -> None:
    """Workers of fresh interpreters are started anew likewise."""
    expected = seeded_rollout(SerialEnv(3, WalkEnv))
    with walks(many, tmp_path, "kill", start_method=start_method) as env:
        found = seeded_rollout(env)
    assert_same_rows(found, expected, [0, 2])
    assert_broken_off(found[1], FAULT_STEP)


@pytest.mark.parametrize("restarts", [-1, 1.5])
def test_numbers_that_make_no_sense(restarts: Any) -> None:
    """A number of restarts is a natural number."""
    with pytest.raises(ValueError, match="restart_on_failure"):
        PoolOptions("Pool", restart_on_failure=restarts)
