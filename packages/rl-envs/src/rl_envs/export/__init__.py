"""Environments of this package as environments of Gymnasium."""

from rl_envs._gym_registry import register_gym
from rl_envs.export._to_gymnasium import to_gymnasium, to_gymnasium_vector

__all__ = ["register_gym", "to_gymnasium", "to_gymnasium_vector"]
