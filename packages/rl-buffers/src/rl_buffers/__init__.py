"""Replay buffers for reinforcement learning on TensorDict: storages, samplers, writers."""

from rl_buffers.__about__ import __version__
from rl_buffers.buffers import (
    PrioritizedReplayBuffer,
    ReplayBuffer,
    TensorDictPrioritizedReplayBuffer,
    TensorDictReplayBuffer,
)
from rl_buffers.samplers import (
    ConsumingSampler,
    LinearAnnealing,
    PrioritizedSampler,
    PrioritizedSliceSampler,
    RandomSampler,
    Sampler,
    SamplerWithoutReplacement,
    SliceSampler,
    SliceSamplerWithoutReplacement,
    StreamingSliceSampler,
)
from rl_buffers.storages import BaseTensorStorage, Block, LazyTensorStorage, ListStorage, Storage, TensorStorage
from rl_buffers.trajectories import find_start_stop_traj, iter_trajectories, split_trajectories
from rl_buffers.transforms import InverseTransform, KeepingTransform, MultiStep, RewardToGo
from rl_buffers.writers import RoundRobinWriter, Writer

__all__ = [
    "BaseTensorStorage",
    "Block",
    "ConsumingSampler",
    "InverseTransform",
    "KeepingTransform",
    "LazyTensorStorage",
    "LinearAnnealing",
    "ListStorage",
    "MultiStep",
    "PrioritizedReplayBuffer",
    "PrioritizedSampler",
    "PrioritizedSliceSampler",
    "RandomSampler",
    "ReplayBuffer",
    "RewardToGo",
    "RoundRobinWriter",
    "Sampler",
    "SamplerWithoutReplacement",
    "SliceSampler",
    "SliceSamplerWithoutReplacement",
    "Storage",
    "StreamingSliceSampler",
    "TensorDictPrioritizedReplayBuffer",
    "TensorDictReplayBuffer",
    "TensorStorage",
    "Writer",
    "__version__",
    "find_start_stop_traj",
    "iter_trajectories",
    "split_trajectories",
]
