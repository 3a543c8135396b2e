"""Durations."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rl_envs import RewardSum, Timer, TransformedEnv, check_env_specs
from rl_specs import SpecError

MakeEnv = Callable[..., Any]


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        """The time, in seconds."""
        return self.now


def _timed(toy: MakeEnv, clock: Clock) -> TransformedEnv:
    """The toy, whose steps take 2 s and whose resets take 5 s."""
    base = toy((2,))
    step, reset = base._step, base._reset

    def slow_step(data: Any) -> Any:
        clock.now += 2
        return step(data)

    def slow_reset(data: Any) -> Any:
        clock.now += 5
        return reset(data)

    base._step, base._reset = slow_step, slow_reset
    return TransformedEnv(base, [RewardSum(), Timer(clock=clock)])


def test_by_hand(toy: MakeEnv) -> None:
    """Steps of 2 s, a reset of 5 s and a policy of 3 s are told apart; what a reset writes is zero in a step."""
    clock = Clock()
    env = _timed(toy, clock)
    root = env.reset()
    names = ("time_step", "time_policy", "time_reset")
    assert [root[name].unique().tolist() for name in names] == [[0.0], [0.0], [5.0]]
    clock.now += 3
    stepped, following = env.step_and_maybe_reset(env.rand_action(root))
    assert [stepped["next", name].unique().tolist() for name in names] == [[2.0], [3.0], [0.0]]
    clock.now += 1
    assert env.step(env.rand_action(following))["next", "time_policy"].unique().tolist() == [1.0]
    assert stepped["next", "time_step"].shape == (2, 1)


def test_partial_reset(toy: MakeEnv) -> None:
    """The duration of a reset is written to the rows that are reset; the next policy starts after it."""
    clock = Clock()
    env = _timed(toy, clock)
    following = env.step_and_maybe_reset(env.rand_action(env.reset()))[1]
    clock.now += 9
    after = env.reset(following.set("_reset", torch.tensor([[True], [False]])))
    assert after["time_reset"].flatten().tolist() == [5.0, 0.0]
    assert after["time_step"].flatten().tolist() == [0.0, 2.0]
    clock.now += 4
    assert env.step(env.rand_action(after))["next", "time_policy"].flatten().tolist() == [4.0, 4.0]


def test_real_clock_and_names(toy: MakeEnv) -> None:
    """With the clock of the machine durations are positive; names follow `time_key`, or are given."""
    env = TransformedEnv(toy(), Timer(time_key=("agents", "t")))
    check_env_specs(env)
    assert env.transform[0].out_keys == [("agents", "t_step"), ("agents", "t_policy"), ("agents", "t_reset")]
    data = env.rollout(2)
    assert (data["next", "agents", "t_step"] > 0).all()
    assert (data["next", "agents", "t_policy"] > 0).all()
    assert (data["agents", "t_reset"][0] > 0).all()
    assert Timer(["a", "b", "c"]).out_keys == ["a", "b", "c"]


def test_misuse(toy: MakeEnv) -> None:
    """Other than three names, names that are taken, and stored data are refused."""
    with pytest.raises(ValueError, match=r"another number of out_keys\. Expected three names"):
        Timer(["a"])
    with pytest.raises(SpecError, match="written already"):
        TransformedEnv(toy(), [Timer(), Timer()])
    with pytest.raises(NotImplementedError, match="Append it to a TransformedEnv"):
        Timer()(TransformedEnv(toy()).reset())
    assert repr(Timer(["a", "b", "c"])) == "Timer(out_keys=['a', 'b', 'c'])"
