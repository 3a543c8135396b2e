"""Networks, actors, critics and action distributions for reinforcement learning on TensorDict."""

from rl_modules.__about__ import __version__

__all__ = ["__version__"]
