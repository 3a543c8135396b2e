"""Scaled rewards."""

from collections.abc import Callable
from typing import Any

import torch

from rl_envs import RewardScaling, TransformedEnv
from rl_specs import Bounded

MakeEnv = Callable[..., Any]


def test_both_maps_by_hand(toy: MakeEnv) -> None:
    """Rewards 1, 2, 3 become `r * 0.5 + 1`, or `(r - 1) / 0.5`."""
    data = TransformedEnv(toy(), RewardScaling(1.0, 0.5)).rollout(3)
    assert data["next", "reward"].flatten().tolist() == [1.5, 2.0, 2.5]
    data = TransformedEnv(toy(), RewardScaling(1.0, 0.5, standard_normal=True)).rollout(3)
    assert data["next", "reward"].flatten().tolist() == [0.0, 2.0, 4.0]


def test_a_new_entry_keeps_the_raw_reward(toy: MakeEnv) -> None:
    """With another out key both rewards are there and in the spec."""
    env = TransformedEnv(toy(), RewardScaling(0.0, 2.0, out_keys=["scaled"]))
    data = env.rollout(2)
    assert data["next", "scaled"].flatten().tolist() == [2.0, 4.0]
    assert data["next", "reward"].flatten().tolist() == [1.0, 2.0]
    assert set(env.reward_keys) == {"reward", "scaled"}


def test_specs_and_dtype(toy: MakeEnv) -> None:
    """Bounds are scaled, in the right order; the dtype of the reward stays."""
    base = toy()
    base.reward_spec = Bounded(0.0, 4.0, shape=(1,), dtype=torch.float32)
    scaling = RewardScaling(torch.tensor(1.0, dtype=torch.float64), torch.tensor(-0.5, dtype=torch.float64))
    env = TransformedEnv(base, scaling)
    assert env.reward_spec == Bounded(-1.0, 1.0, shape=(1,), dtype=torch.float32)
    assert env.rollout(1)["next", "reward"].dtype == torch.float32


def test_repr() -> None:
    """Scalar constants are shown, tensors are not."""
    assert repr(RewardScaling(0, 1)) == "RewardScaling(loc=0.0000, scale=1.0000, keys=['reward'])"
    assert repr(RewardScaling([0.0, 1.0], 1)) == "RewardScaling(keys=['reward'])"
