"""Gymnasium environments as `EnvBase`."""

from rl_envs.gym._env import GymEnv
from rl_envs.gym._wrapper import GymWrapper
from rl_envs.gym.spaces import space_from_spec, spec_from_space

__all__ = ["GymEnv", "GymWrapper", "space_from_spec", "spec_from_space"]
