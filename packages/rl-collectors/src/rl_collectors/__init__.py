"""Data collection for reinforcement learning: run a policy in environments and yield batches."""

from rl_collectors.__about__ import __version__
from rl_collectors._collector import Collector, SyncDataCollector
from rl_collectors._overlap import Overlap
from rl_collectors._wiring import WiringError
from rl_specs.trajectories import split_trajectories

__all__ = ["Collector", "Overlap", "SyncDataCollector", "WiringError", "__version__", "split_trajectories"]
