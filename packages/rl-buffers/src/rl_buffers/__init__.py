"""Replay buffers for reinforcement learning on TensorDict: storages, samplers, writers."""

from rl_buffers.__about__ import __version__
from rl_buffers.buffers import (
    PrioritizedReplayBuffer,
    ReplayBuffer,
    TensorDictPrioritizedReplayBuffer,
    TensorDictReplayBuffer,
)
from rl_buffers.samplers import (
    LinearAnnealing,
    PrioritizedSampler,
    RandomSampler,
    Sampler,
    SamplerWithoutReplacement,
)
from rl_buffers.storages import BaseTensorStorage, Block, LazyTensorStorage, ListStorage, Storage, TensorStorage
from rl_buffers.transforms import InverseTransform, KeepingTransform
from rl_buffers.writers import RoundRobinWriter, Writer

__all__ = [
    "BaseTensorStorage",
    "Block",
    "InverseTransform",
    "KeepingTransform",
    "LazyTensorStorage",
    "LinearAnnealing",
    "ListStorage",
    "PrioritizedReplayBuffer",
    "PrioritizedSampler",
    "RandomSampler",
    "ReplayBuffer",
    "RoundRobinWriter",
    "Sampler",
    "SamplerWithoutReplacement",
    "Storage",
    "TensorDictPrioritizedReplayBuffer",
    "TensorDictReplayBuffer",
    "TensorStorage",
    "Writer",
    "__version__",
]
