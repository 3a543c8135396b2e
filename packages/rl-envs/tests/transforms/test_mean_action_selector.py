"""Beliefs around an environment."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs import MeanActionSelector, SerialEnv, StepCounter, TransformedEnv, check_env_specs
from rl_envs.testing import CountingEnv, TensorDictCountingEnv
from rl_specs import MissingKeyError, SpecError

MakeEnv = Callable[..., Any]


@pytest.mark.parametrize("batch_size", [(), (3,), (2, 2)], ids=str)
@pytest.mark.parametrize("mapping", [True, False])
def test_beliefs_in_and_out(toy: MakeEnv, batch_size: tuple[int, ...], mapping: bool) -> None:
    """Observations have a covariance of zeros; the environment gets the mean of the action and nothing else of it."""
    env = TransformedEnv(toy(batch_size, accepts_mapping=mapping), MeanActionSelector())
    check_env_specs(env)

    def policy(data: TensorDictBase) -> TensorDictBase:
        assert data["observation", "var"].shape == (*batch_size, 3, 3)
        data["action", "mean"] = torch.full((*batch_size, 2), 0.05, dtype=torch.float64)
        data["action", "var"] = torch.ones(*batch_size, 2, 2)
        return data

    data = env.rollout(2, policy)
    assert data["next", "observation", "mean"].reshape(-1, 2, 3)[0].tolist() == [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]
    assert not data["next", "observation", "var"].any()
    assert data["observation", "var"].dtype is torch.float64
    assert env.base_env.actions[-1].flatten()[0] == 0.05  # type: ignore[attr-defined]  # the toy
    assert data["action", "var"].shape == (*batch_size, 2, 2, 2)


@pytest.mark.parametrize("make", [CountingEnv, TensorDictCountingEnv])
def test_inside_a_row_of_environments(make: Callable[[], Any]) -> None:
    """It works around and within a `SerialEnv`, with partial resets."""
    inside = SerialEnv(2, lambda: TransformedEnv(make(), MeanActionSelector()))
    around = TransformedEnv(SerialEnv(2, make), [MeanActionSelector(), StepCounter()])
    for env in (inside, around):
        check_env_specs(env)
        data = env.rollout(7, break_when_any_done=False)
        assert data["next", "observation", "mean"][0, :, 0].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 2.0]


def test_nested_keys() -> None:
    """Nested observations and actions get one level more."""
    transform = MeanActionSelector(("agents", "observation"), ("agents", "action"))
    env = TransformedEnv(CountingEnv((2,), prefix=("agents",)), transform)
    check_env_specs(env)
    assert env.action_keys == [("agents", "action", "mean")]


def test_forward_and_errors(toy: MakeEnv) -> None:
    """Stored observations become beliefs; what is missing or no vector is told."""
    found = MeanActionSelector()(TensorDict({"observation": torch.ones(4, 2)}, [4]))
    assert found["observation", "mean"].tolist() == [[1.0, 1.0]] * 4
    assert found["observation", "var"].shape == (4, 2, 2)
    with pytest.raises(MissingKeyError, match="MeanActionSelector"):
        MeanActionSelector()(TensorDict({"other": torch.ones(4, 2)}, [4]))
    with pytest.raises(SpecError, match="no Gaussian"):
        TransformedEnv(toy(), MeanActionSelector("pixels"))
    with pytest.raises(SpecError, match='"observatoin"'):
        TransformedEnv(toy(), MeanActionSelector("observatoin"))
    env = TransformedEnv(toy(), MeanActionSelector())
    with pytest.raises(MissingKeyError, match="action"):
        env.step(env.reset())
    with pytest.raises(MissingKeyError, match=r'MeanActionSelector: key \("action", "mean"\) missing'):
        MeanActionSelector().inv(TensorDict({"action": torch.zeros(4, 2)}, [4]))
