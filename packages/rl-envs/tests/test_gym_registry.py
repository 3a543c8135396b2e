"""Tests of `rl_envs._gym_registry`."""

from collections.abc import Iterator

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rl_envs import GymEnv, PendulumEnv, StepCounter, TicTacToeEnv, register_gym
from rl_envs.testing import CountingEnv, NestedCountingEnv


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    """Leaves Gymnasium's registry as it was."""
    before = dict(gymnasium.registry)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


def test_make_by_name() -> None:
    """`gymnasium.make` gives the environment, with keywords from the registration and from the call."""
    register_gym("Counting-v0", CountingEnv, kwargs={"max_steps": 2})
    for keywords, expected in (({}, 2), ({"max_steps": 3}, 3)):
        env = gymnasium.make("Counting-v0", **keywords)  # type: ignore[arg-type]  # keywords of the environment
        env.reset()
        steps = 0
        is_over = False
        while not is_over:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            steps, is_over = steps + 1, terminated or truncated
        assert steps == expected


def test_every_environment_made_has_its_own_transform() -> None:
    """A transform is applied, and two environments of one name do not share it."""
    register_gym("Stepped-v0", CountingEnv, transform=StepCounter(max_steps=2))
    envs = [gymnasium.make("Stepped-v0") for _ in range(2)]
    for env in envs:
        env.reset()
        env.step(env.action_space.sample())
        assert env.step(env.action_space.sample())[3] is True


def test_a_class_registers_itself() -> None:
    """`EnvBase.register_gym` registers the class with keywords for its constructor, or another entry point."""
    CountingEnv.register_gym("Own-v0", max_steps=1, transform=StepCounter())
    env = gymnasium.make("Own-v0")
    observation, _ = env.reset()
    assert set(observation) == {"observation", "step_count"}
    assert env.step(env.action_space.sample())[2] is True
    CountingEnv.register_gym("Other-v0", entry_point=PendulumEnv)
    assert gymnasium.make("Other-v0").observation_space.shape == (3,)


def test_time_limit() -> None:
    """`max_episode_steps` truncates."""
    register_gym("Swing-v0", PendulumEnv, max_episode_steps=3)
    env = gymnasium.make("Swing-v0")
    env.reset(seed=0)
    assert [env.step(env.action_space.sample())[3] for _ in range(3)] == [False, False, True]


@pytest.mark.filterwarnings("ignore:.*Box.*")
def test_the_checker_passes_whole() -> None:
    """With a name, Gymnasium's checker also compares seeded data and makes and closes the environment again."""
    keys = {"reward_key": ("player0", "reward"), "info_keys": ["turn"]}
    register_gym("noughts/Crosses-v0", TicTacToeEnv, kwargs={"single_player": True}, **keys)  # type: ignore[arg-type]
    check_env(gymnasium.make("noughts/Crosses-v0").unwrapped)
    register_gym("Swing-v1", PendulumEnv)
    check_env(gymnasium.make("Swing-v1").unwrapped)


@pytest.mark.filterwarnings("ignore:.*Box.*")
def test_frames_by_name() -> None:
    """`render_mode` reaches an entry point that takes it, and the checker, which renders in every mode, passes."""
    register_gym("Rendered-v0", GymEnv, kwargs={"env_name": "CartPole-v1"})
    env = gymnasium.make("Rendered-v0", render_mode="rgb_array")
    check_env(env.unwrapped)
    env.reset()
    assert np.asarray(env.render()).shape == (400, 600, 3)


def test_rewards_of_members_by_name() -> None:
    """`sum_rewards` is that of `to_gymnasium`."""
    register_gym("Members-v0", NestedCountingEnv, sum_rewards=True)
    env = gymnasium.make("Members-v0")
    env.reset()
    assert env.step(np.array([[0.25], [0.5]], np.float32))[1] == 2.75
