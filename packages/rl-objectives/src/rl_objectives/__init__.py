"""Loss modules, value estimators and target-network updates for reinforcement learning on TensorDict."""

from rl_objectives.__about__ import __version__

__all__ = ["__version__"]
