"""Rewards kept between two bounds."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import RewardClipping, TransformedEnv
from rl_specs import Bounded

MakeEnv = Callable[..., Any]


def test_by_hand() -> None:
    """Rewards outside of the bounds become the nearer one; a side left out is free."""
    data = TensorDict({"reward": torch.tensor([[-3.0], [0.5], [7.0]])}, [3])
    assert RewardClipping(-1, 2)(data.clone())["reward"].flatten().tolist() == [-1.0, 0.5, 2.0]
    assert RewardClipping(clamp_max=2)(data.clone())["reward"].flatten().tolist() == [-3.0, 0.5, 2.0]


def test_spec_and_names(toy: MakeEnv) -> None:
    """The spec has the bounds; nested names work."""
    env = TransformedEnv(toy(), RewardClipping(-1, 1, out_keys=[("agents", "reward")]))
    assert env.full_reward_spec["agents", "reward"] == Bounded(-1.0, 1.0, shape=(1,))
    assert env.rollout(3)["next", "agents", "reward"].flatten().tolist() == [1.0, 1.0, 1.0]


def test_bad_bounds() -> None:
    """No bound, or bounds in the wrong order, are refused by name."""
    with pytest.raises(ValueError, match=r"RewardClipping: no bound given\. Give clamp_min, clamp_max or both"):
        RewardClipping()
    with pytest.raises(ValueError, match=r"clamp_min=2.0, clamp_max=1.0"):
        RewardClipping(2, 1)
    assert repr(RewardClipping(clamp_min=0)) == "RewardClipping(clamp_min=0.0, clamp_max=None, keys=['reward'])"


def test_a_bound_that_is_no_number() -> None:
    """NaN, which every comparison lets pass, is refused."""
    with pytest.raises(ValueError, match="RewardClipping: clamp_min is NaN"):
        RewardClipping(torch.nan, 1.0)
