"""Returns to be reached."""

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs import BinarizeReward, RewardScaling, TargetReturn, TransformedEnv, check_env_specs
from rl_envs.testing import CountingEnv
from rl_specs import Composite, MissingKeyError, SpecError, Unbounded

MakeEnv = Callable[..., Any]


def _still(data: TensorDictBase) -> TensorDictBase:
    return data.set("action", torch.zeros(*data.batch_size, 1))


def test_rewards_are_taken_off() -> None:
    """Rewards 1, 2, 3 leave 9, 7 and 4 of 10; a row that starts anew has 10 again."""
    env = TransformedEnv(CountingEnv((2,), max_steps=[2, 9]), TargetReturn(10.0))
    check_env_specs(env)
    data = env.rollout(3, _still, break_when_any_done=False)
    assert data["target_return"].squeeze(-1).tolist() == [[10.0, 9.0, 10.0], [10.0, 9.0, 7.0]]
    assert data["next", "target_return"].squeeze(-1).tolist() == [[9.0, 7.0, 9.0], [9.0, 7.0, 4.0]]


def test_constant() -> None:
    """With `"constant"` the target stays; a program may write another one into the root."""
    env = TransformedEnv(CountingEnv(max_steps=9), TargetReturn(10.0, "constant"))
    assert env.rollout(3)["next", "target_return"].flatten().tolist() == [10.0] * 3
    root = env.reset()
    root["target_return"] = root["target_return"] + 5
    assert env.rollout(2, auto_reset=False, tensordict=root)["next", "target_return"].flatten().tolist() == [15.0] * 2


def test_names(toy: MakeEnv) -> None:
    """The target lies beside its reward; several rewards and other names are possible."""
    nested = TransformedEnv(CountingEnv((2,), prefix=("agents",)), TargetReturn(1.0))
    assert nested.transform[0].out_keys == [("agents", "target_return")]
    check_env_specs(nested)
    scaled = RewardScaling(0.0, 2.0, out_keys=["twice"])
    both = TargetReturn(10.0, in_keys=["reward", "twice"], out_keys=["one", ("n", "two")])
    env = TransformedEnv(toy((2,)), [scaled, both])
    check_env_specs(env)
    data = env.rollout(2)
    assert data["next", "one"][0].flatten().tolist() == [9.0, 7.0]
    assert data["next", "n", "two"][0].flatten().tolist() == [8.0, 4.0]
    with pytest.raises(SpecError, match="the same target"):
        TransformedEnv(toy(), [RewardScaling(0.0, 2.0, out_keys=["twice"]), TargetReturn(1.0)])


def test_another_mask() -> None:
    """With `reset_key`, rows outside that mask keep their targets."""
    transform = TargetReturn(10.0, reset_key="_mine")
    TransformedEnv(CountingEnv((2,)), transform)
    root = {"target_return": torch.tensor([[3.0], [4.0]]), "_mine": torch.tensor([[True], [False]])}
    assert transform._reset(root, {})["target_return"].tolist() == [[10.0], [4.0]]


def test_bad_use(toy: MakeEnv) -> None:
    """Another mode, a reward that is not there, a root without the target and stored data are refused."""
    with pytest.raises(ValueError, match="reduce"):
        TargetReturn(1.0, cast(Any, "grow"))
    with pytest.raises(SpecError, match='"rewrad"'):
        TransformedEnv(toy(), TargetReturn(1.0, in_keys=["rewrad"]))
    env = TransformedEnv(toy(), TargetReturn(1.0))
    with pytest.raises(MissingKeyError, match="target_return"):
        env.step(env.rand_action(env.reset().exclude("target_return")))
    with pytest.raises(NotImplementedError, match="Append it to a TransformedEnv"):
        TargetReturn(1.0)(TensorDict({"reward": torch.zeros(1)}))


def test_another_mask_of_nested_rewards() -> None:
    """A mask of rows holds for every agent of a row."""
    inside = CountingEnv((2,), prefix=("agents",))
    inside.reward_spec = Composite({("agents", "reward"): Unbounded(shape=(2, 3, 1))}, shape=(2,))
    env = TransformedEnv(inside, TargetReturn(10.0, reset_key="mine"))
    key = ("agents", "target_return")
    root = {key: torch.full((2, 3, 1), 4.0), "mine": torch.tensor([[True], [False]])}
    assert env.transform[0]._reset(root, {})[key].squeeze(-1).tolist() == [[10.0] * 3, [4.0] * 3]


def test_rewards_of_few_bits() -> None:
    """Targets beyond what the dtype of the reward holds, or between integers, are exact."""
    for dtype in (torch.int8, torch.bool, torch.bfloat16):
        env = TransformedEnv(CountingEnv(max_steps=9), [BinarizeReward(dtype=dtype), TargetReturn(1000.5)])
        check_env_specs(env)
        assert env.rollout(3)["next", "target_return"].flatten().tolist() == [999.5, 998.5, 997.5]
