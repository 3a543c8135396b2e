"""Actions that hold for several steps."""

from functools import partial

import pytest
import torch
from tensordict import TensorDict

from rl_envs import (
    BinarizeReward,
    EnvBase,
    FrameSkipTransform,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    check_env_specs,
)
from rl_envs.testing import CountingEnv, TensorDictCountingEnv
from rl_specs import Bounded, Composite


def _ending(max_steps: int) -> EnvBase:
    return CountingEnv(max_steps=max_steps)


def make(kind: str) -> EnvBase:
    """Rows that end after 5 and 6 steps, in one environment or in two."""
    if kind == "whole":
        return CountingEnv((2,), max_steps=[5, 6])
    return SerialEnv(2, [partial(_ending, n) for n in (5, 6)])


def test_rewards_add_up_and_the_last_frame_is_seen() -> None:
    """Three frames an action: observation 3, reward (1 + a) + (2 + a) + (3 + a)."""
    env = TransformedEnv(CountingEnv(max_steps=100), [StepCounter(), FrameSkipTransform(3), RewardSum()])
    check_env_specs(env)
    root = env.reset().set("action", torch.tensor([0.5]))
    stepped, root = env.step_and_maybe_reset(root)
    assert stepped["next", "observation"].tolist() == [3.0]
    assert stepped["next", "reward"].tolist() == [7.5]
    assert stepped["next", "step_count"].tolist() == [3]
    stepped = env.step(root.set("action", torch.tensor([0.5])))
    assert stepped["next", "reward"].tolist() == [4 + 5 + 6 + 1.5]
    assert stepped["next", "episode_reward"].tolist() == [7.5 + 16.5]


@pytest.mark.parametrize("kind", ["whole", "rows"])
def test_a_row_stops_at_its_end(kind: str) -> None:
    """Rows that end after 5 and 6 steps: the second action of 4 frames takes 1 and 2 of them; then both start anew."""
    env = TransformedEnv(make(kind), [FrameSkipTransform(4), StepCounter()])
    check_env_specs(env)
    data = env.rollout(3, lambda td: td.set("action", torch.zeros(2, 1)), break_when_any_done=False)
    assert data["next", "observation"].squeeze(-1).tolist() == [[4.0, 5.0, 4.0], [4.0, 6.0, 4.0]]
    assert data["next", "reward"].squeeze(-1).tolist() == [[10.0, 5.0, 10.0], [10.0, 11.0, 10.0]]
    assert data["next", "done"].squeeze(-1).tolist() == [[False, True, False]] * 2
    assert data["next", "step_count"].squeeze(-1).tolist() == [[1, 2, 1]] * 2


def test_a_single_environment_is_not_stepped_after_its_end() -> None:
    """Nothing moves once the episode is over, also where the environment takes TensorDicts."""
    base = CountingEnv(max_steps=2)
    env = TransformedEnv(base, FrameSkipTransform(10))
    stepped = env.step(env.rand_action(env.reset()))
    assert base.get_state()["count"].item() == 2.0
    assert stepped["next", "done"].item()
    check_env_specs(TransformedEnv(TensorDictCountingEnv((3,)), FrameSkipTransform(2)))


def test_one_frame_changes_nothing() -> None:
    """With a skip of 1 the data are those without."""
    plain, env = CountingEnv((2,)), TransformedEnv(CountingEnv((2,)), FrameSkipTransform())
    torch.manual_seed(0)
    expected = plain.rollout(4)
    torch.manual_seed(0)
    assert (env.rollout(4) == expected).all()


def test_bounds_of_the_reward() -> None:
    """A reward in [-1, 2] becomes one in [-3, 6] over three frames; one in [1, 2] one in [1, 6]."""
    base = CountingEnv((2,))
    reward = Bounded(torch.tensor([[-1.0], [1.0]]), torch.tensor([[2.0], [2.0]]))
    base.reward_spec = Composite({"reward": reward}, shape=(2,))
    spec = TransformedEnv(base, FrameSkipTransform(3)).reward_spec
    assert isinstance(spec, Bounded)
    assert (spec.low.flatten().tolist(), spec.high.flatten().tolist()) == ([-3.0, 1.0], [6.0, 6.0])


def test_bad_use() -> None:
    """A skip below 1 and stored data are refused."""
    with pytest.raises(ValueError, match="frame_skip"):
        FrameSkipTransform(0)
    with pytest.raises(NotImplementedError, match="Append it to a TransformedEnv"):
        FrameSkipTransform(2)(TensorDict({"reward": torch.zeros(1)}))


def test_binary_rewards() -> None:
    """Rewards of 0 and 1 add up to numbers from 0 to `frame_skip`; bools stay bools."""
    env = TransformedEnv(CountingEnv(max_steps=100), [BinarizeReward(), FrameSkipTransform(3)])
    reward = env.full_reward_spec["reward"]
    assert reward == Bounded(0, 3, shape=(1,), dtype=reward.dtype)
    assert env.rollout(2)["next", "reward"].flatten().tolist() == [3, 3]
    check_env_specs(env)
    flags = TransformedEnv(CountingEnv(max_steps=100), [BinarizeReward(dtype=torch.bool), FrameSkipTransform(3)])
    assert flags.full_reward_spec["reward"].dtype is torch.bool
    check_env_specs(flags)
