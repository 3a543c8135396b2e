"""World models as environments."""

from rl_envs.model_based._base import ModelBasedEnvBase
from rl_envs.model_based._world_model_env import WorldModelEnv

__all__ = ["ModelBasedEnvBase", "WorldModelEnv"]
