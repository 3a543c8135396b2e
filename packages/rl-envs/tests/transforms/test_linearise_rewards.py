"""Several rewards made one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import LineariseRewards, TransformedEnv
from rl_specs import Bounded, Composite, ShapeError, SpecError, Unbounded

MakeEnv = Callable[..., Any]


def test_by_hand() -> None:
    """2 * 1 - 3 * 2 is -4; without weights rewards are added."""
    data = TensorDict({"reward": torch.tensor([[1.0, 2.0], [0.0, 1.0]])}, [2])
    assert LineariseRewards("reward", weights=[2, -3])(data.clone())["reward"].tolist() == [[-4.0], [-3.0]]
    assert LineariseRewards("reward")(data.clone())["reward"].tolist() == [[3.0], [1.0]]


def test_several_groups_and_integers() -> None:
    """Each in key is summed with the same weights; integers become floating-point."""
    data = TensorDict({"a": {"reward": torch.tensor([[1, 2]])}, "b": {"reward": torch.tensor([[5, 5]])}}, [1])
    result = LineariseRewards([("a", "reward"), ("b", "reward")], [("a", "sum"), "sum"], weights=[0.5, 1])(data)
    assert result["a", "sum"].tolist() == [[2.5]]
    assert result["sum"].tolist() == [[7.5]]


def test_spec() -> None:
    """Bounds are the least and the greatest sum; a weight of zero hides an infinite bound."""
    low, high = torch.tensor([-1.0, 0.0, 0.0]), torch.tensor([2.0, 4.0, torch.inf])
    transform = LineariseRewards("reward", weights=[2.0, -1.0, 0.0])
    spec = transform.transform_reward_spec(Composite({"reward": Bounded(low, high)}))["reward"]
    assert spec == Bounded(-6.0, 4.0, shape=(1,))
    free = transform.transform_reward_spec(Composite({"reward": Unbounded(shape=(4, 3))}))["reward"]
    assert free == Unbounded(shape=(4, 1))


def test_state_dict() -> None:
    """Weights travel with the state."""
    first, second = LineariseRewards("reward", weights=[2, 3]), LineariseRewards("reward", weights=[0, 0])
    second.load_state_dict(first.state_dict())
    assert second.weights is not None
    assert second.weights.tolist() == [2.0, 3.0]


def test_another_number_of_weights(toy: MakeEnv) -> None:
    """Weights that do not fit the rewards are refused when connecting, and on stored data."""
    with pytest.raises(SpecError, match=r'"reward" has the shape \(1,\), and there are 2 weights'):
        TransformedEnv(toy(), LineariseRewards("reward", weights=[1, 2]))
    with pytest.raises(ShapeError, match="another number of rewards than weights"):
        LineariseRewards("reward", weights=[1, 2])(TensorDict({"reward": torch.zeros(4, 1)}, [4]))
