"""Scaled rewards."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import RewardScaling, TransformedEnv
from rl_specs import Bounded, ShapeError, SpecError

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


def test_constants_that_would_widen_the_reward(toy: MakeEnv) -> None:
    """A constant of three elements makes no three rewards of one, in an environment or on stored data."""
    wide = RewardScaling(0.0, torch.ones(3))
    with pytest.raises(SpecError, match=r"RewardScaling: specs do not fit \(loc and scale: do not broadcast"):
        TransformedEnv(toy((2,)), wide)
    with pytest.raises(ShapeError, match=r"Found \(\) and \(3,\) for an entry \(4, 1\)"):
        wide(TensorDict({"reward": torch.zeros(4, 1)}, [4]))
    each = RewardScaling(0.0, torch.tensor([[1.0], [2.0]]))
    assert TransformedEnv(toy((2,)), each).rollout(1)["next", "reward"].flatten().tolist() == [1.0, 2.0]


def test_nothing_is_divided_by_zero() -> None:
    """A scale of zero is refused where rewards are divided by it; as a factor it makes them all the same."""
    with pytest.raises(ValueError, match="RewardScaling: scale is zero"):
        RewardScaling(0.0, [1.0, 0.0], standard_normal=True)
    found = RewardScaling(3.0, 0.0)(TensorDict({"reward": torch.ones(2, 1)}, [2]))
    assert found["reward"].flatten().tolist() == [3.0, 3.0]
