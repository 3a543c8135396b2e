"""Counting and time limits."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rl_envs import Compose, StepCounter, TransformedEnv, check_env_specs
from rl_envs.testing import MultiKeyCountingEnv, NestedCountingEnv
from rl_specs import Bounded, MissingKeyError

MakeEnv = Callable[..., Any]


def test_by_hand(toy: MakeEnv) -> None:
    """Roots count from 0, next entries from 1, and an episode end starts anew."""
    data = TransformedEnv(toy(), StepCounter()).rollout(5, break_when_any_done=False)
    assert data["step_count"].flatten().tolist() == [0, 1, 2, 0, 1]
    assert data["next", "step_count"].flatten().tolist() == [1, 2, 3, 1, 2]
    assert data["step_count"].dtype == torch.int64


def test_time_limit_truncates_and_never_terminates(toy: MakeEnv) -> None:
    """At `max_steps` `truncated` and `done` are set, `terminated` is not; episodes restart from 0."""
    data = TransformedEnv(toy(horizon=100), StepCounter(max_steps=3)).rollout(7, break_when_any_done=False)
    at_limit = [False, False, True, False, False, True, False]
    assert data["next", "truncated"].flatten().tolist() == at_limit
    assert data["next", "done"].flatten().tolist() == at_limit
    assert not data["next", "terminated"].any()
    assert data["step_count"].flatten().tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_termination_stays_termination(toy: MakeEnv) -> None:
    """An env that ends before the limit is terminated and not truncated; at the limit both hold."""
    data = TransformedEnv(toy((2,), horizon=2), StepCounter(max_steps=3)).rollout(3, break_when_any_done=False)
    assert data["next", "terminated"][..., 0].tolist() == [[False, True, False], [False, False, True]]
    assert data["next", "truncated"][..., 0].tolist() == [[False, False, False], [False, False, True]]


def test_truncations_of_the_env_stay() -> None:
    """A row that the env itself truncates stays truncated below the limit."""
    counter = StepCounter(max_steps=3)
    flags = {"done": torch.tensor([[True], [False]]), "truncated": torch.tensor([[True], [False]])}
    found = counter._step({"step_count": torch.tensor([[0], [2]])}, dict(flags))
    assert found["truncated"].flatten().tolist() == found["done"].flatten().tolist() == [True, True]
    assert flags["truncated"].flatten().tolist() == [True, False]


def test_done_can_be_left_alone(toy: MakeEnv) -> None:
    """With `update_done=False` only the flag is set."""
    data = TransformedEnv(toy(horizon=100), StepCounter(2, update_done=False)).rollout(2)
    assert data["next", "truncated"].flatten().tolist() == [False, True]
    assert not data["next", "done"].any()


def test_a_count_goes_beyond_a_limit_that_ends_nothing(toy: MakeEnv) -> None:
    """With `update_done=False` episodes go on, and the spec of the count has no bound."""
    env = TransformedEnv(toy(horizon=100), StepCounter(2, update_done=False))
    data = env.rollout(4)
    assert data["next", "step_count"].flatten().tolist() == [1, 2, 3, 4]
    assert env.full_observation_spec["step_count"].is_in(data["next", "step_count"][-1])


def test_names(toy: MakeEnv) -> None:
    """Flag and count can have other names; a new flag is in the done spec."""
    counter = StepCounter(2, truncated_key="time_limit", step_count_key=("agents", "count"))
    env = TransformedEnv(toy(horizon=100), counter)
    assert env.full_done_spec["time_limit"].dtype == torch.bool
    assert env.observation_spec["agents", "count"] == Bounded(0, 2, shape=(1,), dtype=torch.int64)
    data = env.rollout(2)
    assert data["next", "time_limit"].flatten().tolist() == [False, True]
    assert data["next", "agents", "count"].flatten().tolist() == [1, 2]


def test_two_limits_are_the_smaller_one(toy: MakeEnv) -> None:
    """Two counters of different names each set the flag."""
    env = TransformedEnv(toy(horizon=100), Compose(StepCounter(4), StepCounter(2, step_count_key="other")))
    assert env.rollout(10).shape == (2,)


def test_misuse(toy: MakeEnv) -> None:
    """A limit below 1 and a root without the count are errors."""
    with pytest.raises(ValueError, match="max_steps"):
        StepCounter(max_steps=0)
    env = TransformedEnv(toy(), StepCounter())
    with pytest.raises(MissingKeyError, match=r"step_count.*env.reset\(\)"):
        env.step(env.rand_action(env.reset()).exclude("step_count"))


@pytest.mark.parametrize("batch_size", [(), (2,)], ids=str)
def test_each_group_of_flags_is_counted(batch_size: tuple[int, ...]) -> None:
    """Counts and flags lie beside each `done` flag: those of agents, or several groups."""
    nested = TransformedEnv(NestedCountingEnv(batch_size), StepCounter(2))
    check_env_specs(nested)
    data = nested.rollout(2, break_when_any_done=False)["next", "agents"]
    assert data["step_count"].shape == data["done"].shape
    assert data["truncated"].reshape(-1, 2, data["done"].shape[-2])[0, :, 0].tolist() == [False, True]
    several = TransformedEnv(MultiKeyCountingEnv(batch_size), StepCounter(2))
    check_env_specs(several)
    flags = [key for key in several.done_keys if (key if isinstance(key, str) else key[-1]) == "done"]
    assert len(flags) > 1
    for key in flags:
        level = () if isinstance(key, str) else key[:-1]
        assert several.full_observation_spec[(*level, "step_count")].shape == several.full_done_spec[key].shape
    one = TransformedEnv(MultiKeyCountingEnv(batch_size), StepCounter(2, step_count_key=("own", "count")))
    check_env_specs(one)
    assert set(one.observation_keys) - set(MultiKeyCountingEnv().observation_keys) == {("own", "count")}
