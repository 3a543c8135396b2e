"""Data collection for reinforcement learning: run a policy in environments and yield batches."""

from rl_collectors.__about__ import __version__
from rl_collectors._collector import Collector, SyncDataCollector
from rl_collectors._overlap import Overlap
from rl_collectors._split import split_trajectories
from rl_collectors._wiring import WiringError

__all__ = ["Collector", "Overlap", "SyncDataCollector", "WiringError", "__version__", "split_trajectories"]
