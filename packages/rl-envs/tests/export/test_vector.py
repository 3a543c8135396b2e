"""Tests of `rl_envs.export.to_gymnasium_vector`."""

import gymnasium
import numpy as np
import pytest
import torch

from rl_envs import GymEnv, GymWrapper, PendulumEnv, TicTacToeEnv, to_gymnasium_vector
from rl_envs.testing import CountingEnv, DiscreteCountingEnv, TextCountingEnv
from rl_specs import ShapeError


def test_same_step_autoreset() -> None:
    """Where an episode ends, the first observation of the next one is returned, and the last is in the info."""
    exported = to_gymnasium_vector(CountingEnv((2,), max_steps=[2, 9]))
    assert exported.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.SAME_STEP
    observation, _ = exported.reset()
    assert observation.tolist() == [[0.0], [0.0]]
    actions = np.array([[0.5], [0.25]], np.float32)
    _, reward, _, _, info = exported.step(actions)
    assert reward.tolist() == [1.5, 1.25]
    assert "final_obs" not in info
    observation, _, terminated, truncated, info = exported.step(actions)
    assert observation.tolist() == [[0.0], [2.0]]
    assert terminated.tolist() == [True, False]
    assert truncated.tolist() == [False, False]
    assert info["final_obs"][0].tolist() == [2.0]
    assert info["_final_obs"].tolist() == [True, False]


def test_there_and_back_again() -> None:
    """An exported batch wrapped again gives the data of the original, resets included."""
    original, again = CountingEnv((3,), max_steps=[2, 3, 4]), CountingEnv((3,), max_steps=[2, 3, 4])
    wrapped = GymWrapper(to_gymnasium_vector(again))
    policy = lambda data: data.set("action", torch.full((3, 1), 0.5))  # noqa: E731
    first = original.rollout(12, policy, break_when_any_done=False)
    second = wrapped.rollout(12, policy, break_when_any_done=False)
    for key in ("observation", ("next", "observation"), ("next", "reward"), ("next", "done")):
        assert torch.equal(first[key], second[key]), key


def test_spaces_of_a_batch() -> None:
    """The spaces are batches of those of one environment; one-hot actions are indices."""
    exported = to_gymnasium_vector(DiscreteCountingEnv((3,), encoding="one_hot"))
    assert exported.num_envs == 3
    assert exported.single_action_space == gymnasium.spaces.Discrete(4)
    exported.reset()
    assert exported.step(np.array([0, 1, 3]))[1].tolist() == [2.0, 3.0, 5.0]
    games = to_gymnasium_vector(TicTacToeEnv(batch_size=(2,)), reward_key=("player0", "reward"))
    observation, _ = games.reset()
    assert observation["board"].shape == (2, 3, 3)
    assert observation in games.observation_space


def test_one_seed_for_the_batch() -> None:
    """A seed fixes the data of all rows; a list of seeds is refused."""
    exported = to_gymnasium_vector(PendulumEnv((3,)))
    first, _ = exported.reset(seed=4)
    second, _ = exported.reset(seed=4)
    assert np.array_equal(first, second)
    with pytest.raises(TypeError, match="one integer"):
        exported.reset(seed=[1, 2, 3])  # type: ignore[arg-type]  # what is tested


def test_wrappers_of_gymnasium_take_it() -> None:
    """A vector wrapper of Gymnasium records the episodes."""
    exported = gymnasium.wrappers.vector.RecordEpisodeStatistics(to_gymnasium_vector(CountingEnv((2,), max_steps=2)))
    exported.reset()
    actions = np.zeros((2, 1), np.float32)
    exported.step(actions)
    info = exported.step(actions)[4]
    assert info["episode"]["r"].tolist() == [3.0, 3.0]


def test_mistakes() -> None:
    """An environment without exactly one batch dimension is an error; so is a step before the reset."""
    with pytest.raises(ShapeError, match="to_gymnasium"):
        to_gymnasium_vector(CountingEnv())
    with pytest.raises(RuntimeError, match=r"Call reset\(\)"):
        to_gymnasium_vector(CountingEnv((2,))).step(np.zeros((2, 1), np.float32))


def test_close() -> None:
    """Closing the export closes the environment, once."""
    env = GymEnv("CartPole-v1", num_envs=2)
    exported = to_gymnasium_vector(env)
    exported.close()
    exported.close()
    assert env.is_closed


def test_text_and_frames_of_a_batch() -> None:
    """Text of a batch is a tuple of strings; frames are a tuple of images."""
    exported = to_gymnasium_vector(TextCountingEnv((2,), max_steps=[1, 9]))
    observation, _ = exported.reset()
    assert observation["text"] == ("step 0", "step 0")
    assert observation in exported.observation_space
    observation, _, _, _, info = exported.step(np.zeros((2, 1), np.float32))
    assert observation["text"] == ("step 0", "step 1")
    assert info["final_obs"]["text"] == ("step 1", "step 1")
    rendered = to_gymnasium_vector(GymEnv("CartPole-v1", num_envs=2, render_mode="rgb_array"), render_mode="rgb_array")
    rendered.reset(seed=0)
    frames = rendered.render()
    assert isinstance(frames, tuple)
    assert [np.asarray(frame).shape[-1] for frame in frames] == [3, 3]
    rendered.close()
