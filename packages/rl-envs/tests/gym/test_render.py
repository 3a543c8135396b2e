"""Tests of `rl_envs.gym._render`: frames of MuJoCo, Atari, classic control and toy text."""

import os
import subprocess
import sys
import textwrap
from typing import Any

import ale_py
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv

from rl_envs import GymEnv, GymWrapper, check_env_specs
from rl_envs.gym._render import rendered
from rl_specs import Bounded

gymnasium.register_envs(ale_py)


class BrokenEnv(gymnasium.Env[Any, Any]):
    """Renders what it is told to."""

    observation_space = gymnasium.spaces.Box(0, 1, (1,))
    action_space = gymnasium.spaces.Box(0, 1, (1,))

    def __init__(self, frame: Any) -> None:
        self.frame = frame

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Nothing."""
        return np.zeros(1, dtype=np.float32), {}

    def render(self) -> Any:
        """The frame, or the exception, given."""
        if isinstance(self.frame, Exception):
            raise self.frame
        return self.frame


@pytest.mark.parametrize("num_envs", [None, 2])
@pytest.mark.parametrize("name", ["ALE/Pong-v5", "CartPole-v1", "Taxi-v4"])
def test_pixels(name: str, num_envs: int | None) -> None:
    """Frames are those of the raw environment, of the shape in the spec, beside the observations or alone."""
    raw = gymnasium.make(name, render_mode="rgb_array")
    raw.reset(seed=3)
    frame: Any = raw.render()
    batch = () if num_envs is None else (num_envs,)
    env = GymEnv(name, num_envs=num_envs, from_pixels=True, pixels_only=False)
    check_env_specs(env)
    assert env.observation_spec["pixels"] == Bounded(0, 255, shape=(*batch, *frame.shape), dtype=torch.uint8)
    root = env.reset(seed=3)
    assert np.array_equal(root["pixels"].reshape(-1, *frame.shape)[0].numpy(), frame)
    assert torch.equal(env.render(), root["pixels"])
    if name.startswith("ALE"):
        assert torch.equal(root["observation"], root["pixels"])
    raw.close()
    env.close()


MUJOCO = """
import gymnasium, numpy as np
from rl_envs import GymEnv, check_env_specs

env = GymEnv("Hopper-v5", num_envs=2, from_pixels=True, pixels_only=False, width=64, height=48)
check_env_specs(env)
raw = gymnasium.make("Hopper-v5", render_mode="rgb_array", width=64, height=48)
raw.reset(seed=3)
root = env.reset(seed=3)
assert root["pixels"].shape == (2, 48, 64, 3)
assert np.abs(root["pixels"][0].numpy().astype(int) - raw.render().astype(int)).mean() < 1
assert root["pixels"].float().std() > 1
"""

NO_OPENGL = """
from rl_envs import GymEnv

try:
    GymEnv("Hopper-v5", from_pixels=True)
except RuntimeError as error:
    print(error)
"""


def run(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own, which reads `MUJOCO_GL` when MuJoCo is imported."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "DISPLAY")}
    code = textwrap.dedent(program)
    return subprocess.run(
        [sys.executable, "-c", code], env=environment | variables, capture_output=True, text=True, check=False
    )


def test_mujoco_without_a_display() -> None:
    """MuJoCo renders off screen through EGL or OSMesa, and the frames are those of the raw environment."""
    errors = []
    for backend in ("egl", "osmesa"):
        result = run(MUJOCO, MUJOCO_GL=backend)
        errors.append(result.stderr)
        if result.returncode == 0:
            return
    raise AssertionError("\n".join(errors))


def test_mujoco_without_opengl() -> None:
    """Where MuJoCo cannot render, the error says which variable to set and what to install."""
    result = run(NO_OPENGL, MUJOCO_GL="disable")
    assert "HopperEnv.render(): failed with" in result.stdout, result.stdout + result.stderr
    assert "MUJOCO_GL to egl or osmesa" in result.stdout


def test_frames_of_a_vector() -> None:
    """`render` of a vector has a frame for each row; one that renders nothing is an error."""
    with GymWrapper(SyncVectorEnv([lambda: gymnasium.make("Taxi-v4", render_mode="rgb_array")] * 2)) as env:
        env.reset(seed=0)
        assert env.render().shape[0] == 2
        assert env.render().dtype is torch.uint8
    with GymWrapper(SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")])) as env:
        env.reset()
        with pytest.raises(ValueError, match="no frame for each row"), pytest.warns(UserWarning, match="render"):
            env.render()


def test_a_frame_is_not_shared() -> None:
    """A frame that the environment draws over does not change what was returned."""
    frame = np.zeros((2, 2, 3), dtype=np.uint8)
    found = rendered(BrokenEnv(frame))
    frame += 1
    assert not found.any()


@pytest.mark.parametrize("frame", [None, "text", np.zeros((2, 2, 3)), np.zeros((2, 2), dtype=np.uint8)])
def test_what_is_no_frame(frame: Any) -> None:
    """What other render modes return is an error that says which mode to ask for."""
    with pytest.raises(ValueError, match='render_mode="rgb_array"'):
        GymWrapper(BrokenEnv(frame), from_pixels=True)


def test_errors_of_an_env_are_told() -> None:
    """An exception while rendering is named, without advice on MuJoCo."""
    with pytest.raises(RuntimeError, match=r"BrokenEnv.render\(\): failed with OSError: no window") as caught:
        GymWrapper(BrokenEnv(OSError("no window")), from_pixels=True)
    assert "MUJOCO_GL" not in str(caught.value)
