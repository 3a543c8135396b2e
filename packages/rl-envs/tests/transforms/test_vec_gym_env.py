"""Vector environments that reset themselves and keep the last observation on the side."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs import RewardSum, TransformedEnv, VecGymEnvTransform, check_env_specs
from rl_specs import Composite, SpecError, Unbounded

MakeEnv = Callable[..., Any]


def still(data: TensorDictBase) -> TensorDictBase:
    """Does nothing."""
    return data.set("action", torch.zeros(*data.batch_size, 1))


@pytest.mark.parametrize("mapping", [True, False])
@pytest.mark.parametrize("name", ["final", "last"])
def test_the_last_observation_is_where_it_belongs(endless: MakeEnv, name: str, mapping: bool) -> None:
    """The step that ends an episode has its last observation, the root after it the first of the next."""
    base = endless((2,), final_name=name, mapping=mapping)
    env = TransformedEnv(base, [VecGymEnvTransform(name), RewardSum()])
    check_env_specs(env)
    env.set_seed(0)
    before = base.resets
    data = env.rollout(4, still, break_when_any_done=False)
    assert base.resets == before + 1
    assert name not in data.keys()  # noqa: SIM118
    assert data["observation"].squeeze(-1).tolist() == [[100.0, 101.0, 200.0, 201.0], [100.0, 101.0, 102.0, 200.0]]
    following = data["next", "observation"].squeeze(-1)
    assert following.tolist() == [[101.0, 102.0, 201.0, 202.0], [101.0, 102.0, 103.0, 201.0]]
    assert data["next", "n", "level"].squeeze(-1).tolist() == [[1, 2, 1, 2], [1, 2, 3, 1]]
    assert data["next", "done"].squeeze(-1).int().tolist() == [[0, 1, 0, 1], [0, 0, 1, 0]]


def test_an_observation_without_a_last_one_is_filled(endless: MakeEnv) -> None:
    """Where the environment does not give it, the last observation is a fill value, and the spec allows it."""
    env = TransformedEnv(endless((2,)), VecGymEnvTransform(missing_obs_value=-7.0))
    check_env_specs(env)
    assert isinstance(env.full_observation_spec["n", "level"], Unbounded)
    env.set_seed(0)
    data = env.rollout(3, still, break_when_any_done=False)
    assert data["next", "observation"].squeeze(-1).tolist() == [[101.0, -7.0, 201.0], [101.0, 102.0, -7.0]]
    assert data["next", "n", "level"][0].flatten().tolist() == [1, -7, 1]


def test_partial_and_full_resets(endless: MakeEnv) -> None:
    """A partial reset leaves rows that go on as they are, and only rows that have ended can be reset."""
    env = TransformedEnv(endless((2,), final_name="final"), VecGymEnvTransform())
    data = env.rollout(2, still, break_when_any_done=False)
    root = data[:, -1]["next"].exclude("reward")
    after = env.reset(root.clone().set("_reset", torch.tensor([[True], [False]])))
    assert after["observation"].flatten().tolist() == [200.0, 102.0]
    with pytest.raises(RuntimeError, match="VecGymEnvTransform: reset of a row"):
        env.reset(root.clone().set("_reset", torch.tensor([[False], [True]])))
    assert env.reset()["n", "level"].flatten().tolist() == [0, 0]


def test_what_is_kept_is_state(endless: MakeEnv) -> None:
    """A state taken between the end of an episode and the reset brings the first observation along."""
    env, other = (TransformedEnv(endless((2,), final_name="final"), VecGymEnvTransform()) for _ in range(2))
    data = env.rollout(2, still, break_when_any_done=False)
    other.load_state_dict(env.state_dict())
    root = data[:, -1]["next"].exclude("reward").set("_reset", torch.tensor([[True], [False]]))
    assert other.reset(root)["observation"].flatten().tolist() == [200.0, 102.0]


def test_wiring(endless: MakeEnv) -> None:
    """A last observation that belongs to none is told; stored data are refused."""
    base = endless((2,))
    entries = {"observation": Unbounded(shape=(2, 1)), ("final", "other"): Unbounded(shape=(2, 1))}
    base.observation_spec = Composite(entries, shape=(2,))
    with pytest.raises(SpecError, match=r'\("final", "other"\) belongs to no observation'):
        TransformedEnv(base, VecGymEnvTransform())
    with pytest.raises(NotImplementedError, match="Append it to a TransformedEnv"):
        VecGymEnvTransform()(TensorDict({"reward": torch.zeros(1)}))
