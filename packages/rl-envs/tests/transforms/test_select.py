"""Entries kept, the others left out."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import SelectTransform, TransformedEnv, check_env_specs
from rl_specs import Composite, SpecError

MakeEnv = Callable[..., Any]


def _keys(data: Any) -> set[Any]:
    return set(data.keys(True, True))


@pytest.mark.parametrize("accepts_mapping", [True, False])
def test_observations(toy: MakeEnv, accepts_mapping: bool) -> None:
    """A level and an entry stay, with rewards, flags and actions; a name that is not there is passed over."""
    env = TransformedEnv(toy((2,), accepts_mapping=accepts_mapping), SelectTransform("agents", "nothing_here"))
    check_env_specs(env)
    assert env.observation_keys == [("agents", "x")]
    steps = env.rollout(2)
    assert {"action", ("agents", "x"), "done", ("next", "reward"), ("next", "truncated")} <= _keys(steps)
    assert "observation" not in _keys(steps)


def test_rewards_and_flags(toy: MakeEnv) -> None:
    """Without `keep_dones` and `keep_rewards` only what is named stays."""
    env = TransformedEnv(toy(), SelectTransform("observation", "done", keep_rewards=False, keep_dones=False))
    check_env_specs(env)
    assert env.done_keys == ["done"]
    assert env.reward_keys == []
    assert _keys(env.rollout(2)["next"]) == {"observation", "done"}
    with pytest.raises(SpecError, match=r"\"done\" says which rows to reset"):
        TransformedEnv(toy(), SelectTransform("observation", keep_dones=False))


def test_states_stay(toy: MakeEnv) -> None:
    """What the environment reads back stays without being named."""
    base = toy()
    base.state_spec = Composite({"observation": base.observation_spec["observation"]})
    env = TransformedEnv(base, SelectTransform("pixels"))
    assert set(env.observation_keys) == {"observation", "pixels"}


def test_stored_data() -> None:
    """On a batch what is named stays, and nothing else."""
    data = TensorDict({"a": torch.zeros(2), "b": torch.zeros(2), "next": {"a": torch.ones(2)}}, [2])
    assert SelectTransform("a", "next", "missing")(data) is data
    assert _keys(data) == {"a", ("next", "a")}
    assert repr(SelectTransform("a", ("b", "c"))) == "SelectTransform('a', ('b', 'c'))"
