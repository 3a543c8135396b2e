"""Replay buffers for reinforcement learning on TensorDict: storages, samplers, writers."""

from rl_buffers.__about__ import __version__

__all__ = ["__version__"]
