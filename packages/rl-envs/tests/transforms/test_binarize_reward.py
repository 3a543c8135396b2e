"""Rewards as zeros and ones."""

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDict

from rl_envs import BinarizeReward, TransformedEnv
from rl_specs import Binary

MakeEnv = Callable[..., Any]


def test_by_hand() -> None:
    """Zero is 0, everything else is 1, negative or not; the dtype stays."""
    data = TensorDict({"reward": torch.tensor([[0.0], [-0.5], [3.0], [-0.0]])}, [4])
    result = BinarizeReward()(data)["reward"]
    assert result.flatten().tolist() == [0, 1, 1, 0]
    assert result.dtype == torch.float32


def test_dtype_and_spec(toy: MakeEnv) -> None:
    """The result and its spec have the dtype asked for, under the name asked for."""
    env = TransformedEnv(toy((2,)), BinarizeReward(out_keys=[("agents", "hit")], dtype=torch.int8))
    assert env.full_reward_spec["agents", "hit"] == Binary(shape=(2, 1), dtype=torch.int8)
    data = env.rollout(2)
    assert data["next", "agents", "hit"].dtype == torch.int8
    assert data["next", "reward"].unique().tolist() == [1.0, 2.0]
    assert TransformedEnv(toy(), BinarizeReward()).reward_spec == Binary(shape=(1,), dtype=torch.float32)
