"""Entries left out."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import Compose, ExcludeTransform, RewardSum, TransformedEnv, check_env_specs
from rl_specs import SpecError

MakeEnv = Callable[..., Any]


def _keys(data: Any) -> set[Any]:
    return set(data.keys(True, True))


@pytest.mark.parametrize("accepts_mapping", [True, False])
def test_entries_and_levels_go(toy: MakeEnv, accepts_mapping: bool) -> None:
    """An entry, a level and a name that is not there: the first two are in no data and no spec."""
    env = TransformedEnv(
        toy((2,), accepts_mapping=accepts_mapping), ExcludeTransform("pixels", "agents", "nothing_here")
    )
    check_env_specs(env)
    assert env.observation_keys == ["observation"]
    steps = env.rollout(7, break_when_any_done=False)
    flags = {"done", "terminated", "truncated"}
    assert _keys(steps) == {
        "observation",
        "action",
        *flags,
        *{("next", key) for key in ("observation", "reward", *flags)},
    }


def test_a_flag_that_is_excluded_stays_away(toy: MakeEnv) -> None:
    """Without `truncated` the specs and the data have none, episodes end and rows are reset as before."""
    env, plain = TransformedEnv(toy((2,)), ExcludeTransform("truncated")), toy((2,))
    check_env_specs(env)
    assert set(env.done_keys) == {"done", "terminated"}
    steps, expected = (each.rollout(9, break_when_any_done=False) for each in (env, plain))
    assert not {"truncated", ("next", "truncated")} & _keys(steps)
    assert torch.equal(steps["observation"], expected["observation"])
    root = env.reset()
    stepped, root = env.step_and_maybe_reset(root.set("action", torch.zeros(2, 2, dtype=torch.float64)))
    assert not {"truncated", ("next", "truncated")} & (_keys(stepped) | _keys(root))


def test_rewards_can_go(toy: MakeEnv) -> None:
    """Without its reward an environment still runs, and has no reward keys."""
    env = TransformedEnv(toy(), Compose(ExcludeTransform("reward")))
    check_env_specs(env)
    assert env.reward_keys == []
    assert ("next", "reward") not in _keys(env.rollout(2))


def test_stored_data() -> None:
    """On a batch, entries and levels of the batch itself go; with `inverse` they go when it is stored."""
    data = TensorDict({"a": torch.zeros(2), "next": {"a": torch.ones(2), "b": torch.ones(2)}}, [2])
    stored = ExcludeTransform(("next", "a"), "missing", inverse=True).inv(data)
    assert _keys(stored) == {"a", ("next", "b")}
    assert _keys(data) == {"a", ("next", "a"), ("next", "b")}
    assert _keys(ExcludeTransform("next", inverse=True)(data.copy())) == _keys(data)
    assert ExcludeTransform("next")(data) is data
    assert _keys(data) == {"a"}
    assert _keys(ExcludeTransform("a").inv(data)) == {"a"}


def test_what_goes_in(toy: MakeEnv) -> None:
    """With `inverse` in an environment, root entries do not reach the environment inside; its data stay complete."""
    env = TransformedEnv(toy((2,)), ExcludeTransform("agents", "pixels", inverse=True))
    check_env_specs(env)
    assert env.rollout(3).shape == (2, 3)


def test_what_has_to_stay(toy: MakeEnv) -> None:
    """`done` and, with `inverse`, actions are refused; so is a sum that an earlier `RewardSum` needs."""
    with pytest.raises(SpecError, match=r"\"done\" says which rows to reset"):
        TransformedEnv(toy(), ExcludeTransform("done"))
    with pytest.raises(SpecError, match=r"\"action\" is read by the environment"):
        TransformedEnv(toy(), ExcludeTransform("action", inverse=True))
    with pytest.raises(SpecError, match=r"\"episode_reward\" is read by the environment"):
        TransformedEnv(toy(), [RewardSum(), ExcludeTransform("episode_reward", inverse=True)])
    with pytest.raises(SpecError, match=r"RewardSum, reads .episode_reward. back"):
        TransformedEnv(toy(), [RewardSum(), ExcludeTransform("episode_reward")])


def test_repr() -> None:
    """The repr is the call."""
    assert repr(ExcludeTransform("a", ("b", "c"), inverse=True)) == "ExcludeTransform('a', ('b', 'c'), inverse=True)"
