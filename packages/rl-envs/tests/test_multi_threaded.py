"""Tests of `rl_envs.multi_threaded`."""

from typing import Any

import pytest
import torch

from rl_envs import GymEnv, MultiThreadedEnv, check_env_specs
from rl_envs._flat import unpack_flat


def test_it_is_envpool_by_name() -> None:
    """Its data are those of `GymEnv` over EnvPool bit for bit, with options of the environment."""
    options: dict[str, Any] = {"max_episode_steps": 7}
    first = MultiThreadedEnv(3, "CartPole-v1", create_env_kwargs=options, num_threads=1)
    second = GymEnv("CartPole-v1", num_envs=3, backend="envpool", **options)
    found = []
    for env in (first, second):
        torch.manual_seed(0)
        env.set_seed(3)
        found.append(unpack_flat(env.rollout(20, break_when_any_done=False)))
        env.close()
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[1])
    assert found[0][("next", "truncated")].any()


def test_every_option_of_the_environment_can_be_given() -> None:
    """Options of EnvPool reach it under their own names, those that are names of `GymEnv` too."""
    moved = []
    for frame_skip in (1, 5):
        with MultiThreadedEnv(1, "Ant-v4", create_env_kwargs={"frame_skip": frame_skip}, num_threads=1) as env:
            env.set_seed(0)
            root = env.reset()
            after = env.step(root.set("action", torch.ones(1, 8, dtype=env.action_spec.dtype)))["next", "observation"]
            moved.append(float((after - root["observation"]).norm()))
    assert moved[0] < moved[1]


def test_it_keeps_its_specs() -> None:
    """One row per worker, actions as indices where that is asked for."""
    with MultiThreadedEnv(2, "CartPole-v1", categorical_action_encoding=True) as env:
        check_env_specs(env)
        assert (env.batch_size, env.full_action_spec["action"].shape) == ((2,), (2,))


def test_mistakes() -> None:
    """Unknown names, options and numbers are refused."""
    with pytest.raises(ValueError, match="no environment of this name"):
        MultiThreadedEnv(2, "CartPol-v1")
    with pytest.raises(TypeError, match='unknown keyword "gravity"'):
        MultiThreadedEnv(2, "CartPole-v1", create_env_kwargs={"gravity": 1.0})
    with pytest.raises(ValueError, match="num_envs"):
        MultiThreadedEnv(0, "CartPole-v1")
