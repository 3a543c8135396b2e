"""Returns of episodes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rl_envs import BinarizeReward, DTypeCastTransform, RewardSum, TransformedEnv, check_env_specs
from rl_envs.testing import CountingEnv
from rl_specs import Composite, MissingKeyError, ShapeError, SpecError, Unbounded

MakeEnv = Callable[..., Any]


def test_by_hand(toy: MakeEnv) -> None:
    """Rewards 1, 2, 3 add up to 1, 3, 6; the next episode starts at 0."""
    env = TransformedEnv(toy(), RewardSum())
    data = env.rollout(5, break_when_any_done=False)
    assert data["next", "episode_reward"].flatten().tolist() == [1.0, 3.0, 6.0, 1.0, 3.0]
    assert data["episode_reward"].flatten().tolist() == [0.0, 1.0, 3.0, 0.0, 1.0]


def test_rows_reset_apart(toy: MakeEnv) -> None:
    """Rows of 2 and 3 steps are summed and reset each at its own time."""
    env = TransformedEnv(toy((2,), horizon=2), RewardSum())
    data = env.rollout(4, break_when_any_done=False)
    assert data["next", "episode_reward"][..., 0].tolist() == [[1.0, 3.0, 1.0, 3.0], [1.0, 3.0, 6.0, 1.0]]


def test_names() -> None:
    """The sum of `reward` is `episode_reward`, nested beside its reward; given names win."""
    assert RewardSum().out_keys == ["episode_reward"]
    assert RewardSum([("a", "reward")]).out_keys == [("a", "episode_reward")]
    assert RewardSum(in_keys=["reward"], out_keys=["return"]).out_keys == ["return"]


def test_a_root_without_the_sum_is_an_error(toy: MakeEnv) -> None:
    """A step from a root that no reset made is refused with the fix."""
    env = TransformedEnv(toy(), RewardSum())
    root = env.rand_action(env.reset()).exclude("episode_reward")
    with pytest.raises(MissingKeyError, match=r'RewardSum: key "episode_reward" missing.*env.reset\(\)'):
        env.step(root)


def test_reset_keys_of_ones_own(toy: MakeEnv) -> None:
    """With `reset_keys`, rows outside that mask keep their sums."""
    transform = RewardSum(reset_keys=["mine"])
    env = TransformedEnv(toy((2,)), RewardSum(in_keys=["reward"], reset_keys=["mine"]))
    root = {"episode_reward": torch.tensor([[5.0], [6.0]]), "mine": torch.tensor([[True], [False]])}
    assert env.transform[0]._reset(root, {})["episode_reward"].flatten().tolist() == [0.0, 6.0]
    assert transform.in_keys == ["reward"]
    with pytest.raises(ValueError, match="lengths differ"):
        RewardSum(reset_keys=["a", "b"])


def test_an_observation_can_be_summed(toy: MakeEnv) -> None:
    """A cost among the observations adds up like a reward; the first one, of the reset, is no reward and left out."""
    env = TransformedEnv(toy(horizon=9), RewardSum(in_keys=["observation"], out_keys=["sum"]))
    assert env.rollout(3)["next", "sum"][-1].tolist() == [6.0, 12.0, 18.0]


def test_an_entry_that_is_not_there(toy: MakeEnv) -> None:
    """An in key that nobody writes is refused when connecting."""
    with pytest.raises(SpecError, match="rewrad"):
        TransformedEnv(toy(), RewardSum(in_keys=["rewrad"]))


@pytest.mark.parametrize("sizes", [(), (1,), (2, 1)], ids=str)
def test_reset_keys_of_nested_rewards(sizes: tuple[int, ...]) -> None:
    """A mask `[B]`, `[B, 1]` or `[B, agents, 1]` resets sums `[B, agents, 1]` of its rows, or of its agents."""
    inside = CountingEnv((2,), prefix=("agents",))
    reward = Unbounded(shape=(2, 2, 1))
    inside.reward_spec = Composite({("agents", "reward"): reward}, shape=(2,))
    env = TransformedEnv(inside, RewardSum([("agents", "reward")], reset_keys=["mine"]))
    mask = torch.tensor([True, False]).reshape(2, *[1] * len(sizes)).expand(2, *sizes).clone()
    if len(sizes) == 2:
        mask[1, 1] = True
    root = {("agents", "episode_reward"): torch.full((2, 2, 1), 5.0), "mine": mask}
    sums = env.transform[0]._reset(root, {})["agents", "episode_reward"]
    assert sums.squeeze(-1).tolist() == [[0.0, 0.0], [5.0, 0.0 if len(sizes) == 2 else 5.0]]
    with pytest.raises(ShapeError, match="mask of another shape"):
        env.transform[0]._reset({**root, "mine": torch.ones(3, 1, dtype=torch.bool)}, {})


def test_a_flag_is_no_reward(toy: MakeEnv) -> None:
    """Flags are refused as what is to be summed, with what to do."""
    with pytest.raises(SpecError, match=r'"done" is a flag.*Cast it first'):
        TransformedEnv(toy(), RewardSum(["done"], ["number"]))
    cast = DTypeCastTransform(torch.bool, torch.float32, in_keys=["done"], out_keys=["ends"])
    env = TransformedEnv(toy(), [cast, RewardSum(["ends"], ["number"])])
    check_env_specs(env)
    assert env.rollout(3)["next", "number"].flatten().tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.int8, torch.int64),
        (torch.bool, torch.int64),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_sums_do_not_overflow(dtype: torch.dtype, expected: torch.dtype) -> None:
    """300 rewards of 1 are 300, whatever the dtype of the reward."""
    env = TransformedEnv(CountingEnv(max_steps=400), [BinarizeReward(dtype=dtype), RewardSum()])
    assert env.full_observation_spec["episode_reward"].dtype is expected
    check_env_specs(env)
    assert env.rollout(300)["next", "episode_reward"][-1].item() == 300
