"""Environments that reset themselves."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs import AutoResetTransform, RewardSum, StepCounter, TransformedEnv, check_env_specs
from rl_specs import Bounded

MakeEnv = Callable[..., Any]


def still(data: TensorDictBase) -> TensorDictBase:
    """Does nothing."""
    return data.set("action", torch.zeros(*data.batch_size, 1))


@pytest.mark.parametrize("mapping", [True, False])
def test_first_observations_come_at_the_reset(endless: MakeEnv, mapping: bool) -> None:
    """The step that ends an episode has fill values, the root after it the first observation of the next."""
    base = endless((2,), mapping=mapping)
    env = TransformedEnv(base, [AutoResetTransform(), StepCounter(), RewardSum()])
    check_env_specs(env)
    env.set_seed(0)
    before = base.resets
    data = env.rollout(4, still, break_when_any_done=False)
    assert base.resets == before + 1
    assert data["observation"].squeeze(-1).tolist() == [[100.0, 101.0, 200.0, 201.0], [100.0, 101.0, 102.0, 200.0]]
    following = data["next", "observation"].squeeze(-1)
    assert following.nan_to_num(-9).tolist() == [[101.0, -9.0, 201.0, -9.0], [101.0, 102.0, -9.0, 201.0]]
    assert data["next", "n", "level"][0].flatten().tolist() == [1, -1, 1, -1]
    assert data["next", "flag"][0].flatten().tolist() == [True, False, True, False]
    assert data["next", "step_count"].squeeze(-1).tolist() == [[1, 2, 1, 2], [1, 2, 3, 1]]
    assert data["next", "reward"].squeeze(-1).tolist() == [[1.0, 2.0, 1.0, 2.0], [1.0, 2.0, 3.0, 1.0]]


def test_fill_values(endless: MakeEnv) -> None:
    """Fill values can be chosen, or left out: then the first observation of the next episode stays."""
    env = TransformedEnv(endless(), AutoResetTransform(fill_float=-5.0, fill_int=7, fill_bool=True))
    last = env.rollout(2, still)[-1]["next"]
    assert (last["observation"].item(), last["n", "level"].item(), last["flag"].item()) == (-5.0, 7, True)
    kept = TransformedEnv(endless(), AutoResetTransform(replace=False))
    assert isinstance(kept.full_observation_spec["n", "level"], Bounded)
    assert kept.rollout(2, still)[-1]["next", "observation"].item() == 200.0
    check_env_specs(kept)


def test_a_reset_of_everything_reaches_the_environment(endless: MakeEnv) -> None:
    """`env.reset()` starts anew; a partial reset of rows that have not ended is an error that says what to do."""
    env = TransformedEnv(endless((2,)), AutoResetTransform())
    root = env.reset()
    assert env.reset()["observation"].flatten().tolist() == [200.0, 200.0]
    with pytest.raises(RuntimeError, match=r"AutoResetTransform: reset of a row .*env\.reset\(\)"):
        env.reset(root.set("_reset", torch.tensor([[True], [False]])))


def test_what_is_kept_is_state(endless: MakeEnv) -> None:
    """A state taken between the end of an episode and the reset brings the first observation along."""
    env, other = (TransformedEnv(endless((2,)), AutoResetTransform()) for _ in range(2))
    data = env.rollout(2, still, break_when_any_done=False)
    other.load_state_dict(env.state_dict())
    root = data[:, -1]["next"].exclude("reward").set("_reset", torch.tensor([[True], [False]]))
    after = other.reset(root)
    assert after["observation"].flatten().tolist() == [200.0, 102.0]
    with pytest.raises(NotImplementedError, match="Append it to a TransformedEnv"):
        AutoResetTransform()(TensorDict({"reward": torch.zeros(1)}))


def test_a_partial_reset_leaves_other_rows_alone(endless: MakeEnv) -> None:
    """Rows outside the mask stay bit-identical, and go on as they would have."""
    env = TransformedEnv(endless((2,)), AutoResetTransform())
    data = env.rollout(2, still, break_when_any_done=False)
    root = data[:, -1]["next"].exclude("reward")
    after = env.reset(root.clone().set("_reset", torch.tensor([[True], [False]])))
    for key in root.keys(True, True):
        assert torch.equal(after[key][1], root[key][1])
    following = env.step(still(after))["next"]
    assert following["observation"][0].item() == 201.0
    assert following["done"].flatten().tolist() == [False, True]  # the third step of the second row
