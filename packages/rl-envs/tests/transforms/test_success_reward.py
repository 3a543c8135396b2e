"""A reward for success alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import RewardSum, SuccessReward, TransformedEnv, check_env_specs
from rl_envs.testing import CountingEnv
from rl_specs import Bounded, MissingKeyError, SpecError

MakeEnv = Callable[..., Any]


@pytest.mark.parametrize("scale", [1.0, -2.5])
def test_in_an_environment(scale: float) -> None:
    """The reward is `scale` where the signal is True and replaces that of the environment; a reset has none."""
    env = TransformedEnv(CountingEnv((2,), max_steps=[2, 3]), [SuccessReward("done", scale=scale), RewardSum()])
    check_env_specs(env)
    spec = env.reward_spec
    assert isinstance(spec, Bounded)
    assert (spec.low.min().item(), spec.high.max().item()) == (min(0.0, scale), max(0.0, scale))
    assert "reward" not in env.reset().keys()  # noqa: SIM118
    data = env.rollout(3, break_when_any_done=False)
    assert data["next", "reward"].squeeze(-1).tolist() == [[0.0, scale, 0.0], [0.0, 0.0, scale]]


def test_a_reward_beside_the_one_there(toy: MakeEnv) -> None:
    """Under another name the reward is added; numbers count as success where they are not zero, nested ones, too."""
    env = TransformedEnv(toy((2,)), SuccessReward(("agents", "x"), ("agents", "success")))
    check_env_specs(env)
    assert env.reward_keys == ["reward", ("agents", "success")]
    assert env.full_reward_spec["agents", "success"].shape == (2, 2)
    assert env.rollout(1)["next", "agents", "success"].tolist() == [[[1.0, 1.0]]] * 2


def test_on_stored_data() -> None:
    """`forward` writes the reward beside the signal, at the root or under `next`, and leaves the signal alone."""
    data = TensorDict({"success": torch.tensor([[True], [False]])}, [2])
    assert SuccessReward(scale=3.0)(data)["reward"].tolist() == [[3.0], [0.0]]
    nested = TensorDict({"next": {"success": torch.tensor([[0], [2]])}}, [2])
    SuccessReward(("next", "success"), ("next", "reward"))(nested)
    assert nested["next", "reward"].tolist() == [[0.0], [1.0]]
    with pytest.raises(MissingKeyError, match="success"):
        SuccessReward()(TensorDict({"other": torch.zeros(2)}, [2]))


def test_wiring(toy: MakeEnv) -> None:
    """A signal that nobody writes, and a reward that is an observation, are told."""
    with pytest.raises(SpecError, match='"success" missing'):
        TransformedEnv(toy(), SuccessReward())
    with pytest.raises(SpecError, match='"observation" is an observation'):
        TransformedEnv(toy(), SuccessReward("done", "observation"))
