"""Tests of the environments of `rl_envs.testing`: their numbers, by hand."""

import pytest
import torch

from rl_envs.testing import (
    DiscreteCountingEnv,
    FailingEnv,
    HeterogeneousCountingEnv,
    MultiKeyCountingEnv,
    NestedCountingEnv,
    NoiseEnv,
    PixelsCountingEnv,
    ScheduledEnv,
    StatelessCountingEnv,
)
from rl_envs.testing.discrete import Encoding


def test_agents_count_on_their_own() -> None:
    """Every entry of the nested environment has one row per agent, and agent 1 ends a step later than agent 0."""
    env = NestedCountingEnv(max_steps=1)
    root = env.reset()
    root["agents", "action"] = torch.tensor([[0.25], [0.5]])
    first = env.step(root)["next", "agents"]
    assert first["reward"].flatten().tolist() == [1.25, 1.5]
    assert first["terminated"].flatten().tolist() == [True, False]
    second = env.rand_step(env.step_mdp(root))["next", "agents"]
    assert second["terminated"].flatten().tolist() == [True, True]


def test_players_of_several_keys() -> None:
    """Rewards are the count plus the actions; flags of the root are truncations, those of "right" terminations."""
    env = MultiKeyCountingEnv(max_steps=1)
    root = env.reset()
    root["left", "action"] = torch.tensor([0.5])
    root["right", "action"] = torch.tensor([2, 0])
    following = env.step(root)["next"]
    assert following["left", "reward"].tolist() == [1.5]
    assert following["right", "reward"].flatten().tolist() == [3.0, 1.0]
    assert following["truncated"].tolist() == [True]
    assert following["terminated"].tolist() == [False]
    assert following["right", "terminated"].flatten().tolist() == [True, False]


def test_heterogeneous_agents() -> None:
    """Agent `i` sees the count `i + 1` times and is paid the sum of its `i + 1` actions."""
    env = HeterogeneousCountingEnv(num_agents=2)
    root = env.reset()
    root["agent_0", "action"] = torch.tensor([0.5])
    root["agent_1", "action"] = torch.tensor([0.25, 0.5])
    following = env.step(root)["next"]
    assert following["agent_1", "observation"].tolist() == [1.0, 1.0]
    assert following["agent_0", "reward"].tolist() == [1.5]
    assert following["agent_1", "reward"].tolist() == [1.75]


@pytest.mark.parametrize(
    ("encoding", "action", "reward"),
    [
        ("categorical", 3, 1 + 3),
        ("one_hot", [0, 0, 1, 0], 1 + 3),
        ("multi_categorical", [1, 2], 1 + 1 + 2 * 2),
        ("multi_one_hot", [0, 1, 1, 0, 0], 1 + 2 + 3),
        ("binary", [1, 0, 1], 1 + 1 + 3),
    ],
)
def test_discrete_rewards(encoding: Encoding, action: int | list[int], reward: int) -> None:
    """The reward weighs the last dimension of the action by its position, in every encoding."""
    env = DiscreteCountingEnv(encoding=encoding)
    value = torch.tensor(action, dtype=env.action_spec.dtype)
    assert env.step(env.reset().set("action", value))["next", "reward"].item() == reward


def test_frames_show_the_count() -> None:
    """Every pixel is ten times the count, up to 255."""
    rolled = PixelsCountingEnv(max_steps=30).rollout(27)
    frames = rolled["next", "pixels"]
    assert frames.shape == torch.Size((27, 8, 6, 3))
    assert frames[:, 0, 0, 0].tolist() == [min(10 * step, 255) for step in range(1, 28)]


def test_episodes_end_as_scheduled() -> None:
    """Each row goes through lengths and endings on its own, and from the start again."""
    env = ScheduledEnv([2, 1], ["truncated", "both"], batch_size=(2,))
    following = env.rollout(5, break_when_any_done=False)["next"]
    assert following["truncated"][0].flatten().tolist() == [False, True, True, False, True]
    assert following["terminated"][1].flatten().tolist() == [False, False, True, False, False]
    with pytest.raises(ValueError, match="one ending each"):
        ScheduledEnv([1, 2], ["both"])


def test_failures() -> None:
    """The step or reset of that number raises what it was told to raise."""
    env = FailingEnv(fail_at_step=2, error=ConnectionError("gone"))
    root = env.step_mdp(env.rand_step(env.reset()))
    with pytest.raises(ConnectionError, match="gone"):
        env.rand_step(root)
    assert env.num_steps == 2
    with pytest.raises(RuntimeError, match="told to fail"):
        FailingEnv(fail_at_reset=1).reset()


def test_noise_depends_on_seed_and_position() -> None:
    """Rows of a split batch draw what they draw in the whole one; another seed draws other numbers."""
    whole = NoiseEnv((4,)).rollout(3)["next", "observation"]
    part = NoiseEnv((2,))
    part.set_seed(0, first_index=2)
    assert torch.equal(part.rollout(3)["next", "observation"], whole[2:])
    assert not torch.equal(NoiseEnv((4,), seed=1).rollout(3)["next", "observation"], whole)


def test_state_in_the_data() -> None:
    """The stateless environment goes on from whatever count it is given."""
    env = StatelessCountingEnv(max_steps=9)
    root = env.reset()
    root["count"] = torch.tensor([7.0])
    assert env.rand_step(root)["next", "count"].item() == 8
