"""Data collection for reinforcement learning: run a policy in environments and yield batches."""

from rl_collectors.__about__ import __version__

__all__ = ["__version__"]
