"""Reinforcement-learning environments on TensorDict: the environment API, the Gymnasium adapter, vectorised and native environments, transforms."""

from rl_envs.__about__ import __version__

__all__ = ["__version__"]
