"""Tests of the tasks of `rl_envs.mujoco` beside Gymnasium's."""

from typing import Any

import gymnasium
import mujoco  # type: ignore[import-untyped]  # ships no types
import numpy as np
import pytest
import torch
from torch import Tensor

from rl_envs.mujoco import (
    AntEnv,
    HalfCheetahEnv,
    HopperEnv,
    HumanoidEnv,
    InvertedDoublePendulumEnv,
    InvertedPendulumEnv,
    MujocoEnv,
    ReacherEnv,
    SwimmerEnv,
    Walker2dEnv,
)

WITHOUT_FORCES = {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0}
TASKS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "Ant": (AntEnv, "Ant-v5", {}),
    "Ant without forces": (lambda n, **kw: AntEnv(n, contact_forces=False, **kw), "Ant-v5", WITHOUT_FORCES),
    "HalfCheetah": (HalfCheetahEnv, "HalfCheetah-v5", {}),
    "Hopper": (HopperEnv, "Hopper-v5", {}),
    "Humanoid": (HumanoidEnv, "Humanoid-v5", {}),
    "Humanoid without forces": (
        lambda n, **kw: HumanoidEnv(n, contact_forces=False, **kw),
        "Humanoid-v5",
        WITHOUT_FORCES,
    ),
    "InvertedDoublePendulum": (InvertedDoublePendulumEnv, "InvertedDoublePendulum-v5", {}),
    "InvertedPendulum": (InvertedPendulumEnv, "InvertedPendulum-v5", {}),
    "Reacher": (ReacherEnv, "Reacher-v5", {}),
    "Swimmer": (SwimmerEnv, "Swimmer-v5", {}),
    "Walker2d": (Walker2dEnv, "Walker2d-v5", {}),
}
FALL = {"Ant", "Hopper", "Humanoid", "InvertedDoublePendulum", "InvertedPendulum", "Walker2d"}
TOUCH = {"Ant", "HalfCheetah", "Hopper", "Humanoid", "Walker2d"}


def positions(env: MujocoEnv) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """`qpos` and `qvel` of each env."""
    now = env._physics.now
    return now["qpos"].numpy().copy(), now["qvel"].numpy().copy()


def follow(raw: Any, qpos: Any, qvel: Any) -> Any:
    """Put Gymnasium's env at the start of an episode; its observation."""
    mujoco.mj_resetData(raw.model, raw.data)
    raw.set_state(qpos, qvel)
    return raw._get_obs()


@pytest.mark.parametrize("name", TASKS)
def test_steps_are_those_of_gymnasium(name: str) -> None:
    """From the same first states, observation, reward and termination of every step are Gymnasium's to 1e-9."""
    compare(name, 100)


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_whole_episodes_are_those_of_gymnasium(name: str) -> None:
    """The same over 1,000 steps, which the end of an episode does not stop."""
    compare(name, 1000)


def compare(name: str, steps: int) -> None:
    """Step three envs beside Gymnasium's, one of them started anew from time to time."""
    make, task, settings = TASKS[name]
    env = make(3, num_threads=2, seed=1, max_episode_steps=None)
    raws: list[Any] = [gymnasium.make(task, **settings).unwrapped for _ in range(3)]
    observation = env.reset()["observation"]
    for row, (raw, qpos, qvel) in enumerate(zip(raws, *positions(env), strict=True)):
        assert_close(observation[row], follow(raw, qpos, qvel))
    generator = torch.Generator().manual_seed(0)
    ends = contacts = 0
    for step in range(steps):
        action = env.action_spec.high * (torch.rand(3, raws[0].model.nu, generator=generator) * 2.4 - 1.2)
        following = env._step({"action": action})
        clipped = action.clamp(env.action_spec.low, env.action_spec.high).double().numpy()
        for row, raw in enumerate(raws):
            expected, reward, terminated, *_ = raw.step(clipped[row])
            assert_close(following["observation"][row], expected)
            assert_close(following["reward"][row, 0], reward)
            assert following["terminated"][row].item() == terminated
            contacts += raw.data.ncon
            ends += terminated
        if step % 30 == 29:
            mask = torch.tensor([[False], [True], [False]])
            env._reset({"_reset": mask})
            qpos, qvel = positions(env)
            follow(raws[1], qpos[1], qvel[1])
    assert (ends > 0) == (name.split()[0] in FALL)
    assert (contacts > 0) == (name.split()[0] in TOUCH)


def assert_close(found: Tensor, expected: Any) -> None:
    """Equal to 1e-9, relative to large values."""
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)
