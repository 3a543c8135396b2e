"""Replay buffers for reinforcement learning on TensorDict: storages, samplers, writers."""

from rl_buffers.__about__ import __version__
from rl_buffers._ensemble_buffer import ReplayBufferEnsemble
from rl_buffers._ensembles import SamplerEnsemble, StorageEnsemble
from rl_buffers._hindsight import HindsightStrategy
from rl_buffers._offline_to_online import OfflineToOnlineReplayBuffer
from rl_buffers._save import PendingSave
from rl_buffers.buffers import (
    HERReplayBuffer,
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
    RankPrioritizedSampler,
    Sampler,
    SamplerWithoutReplacement,
    SliceSampler,
    SliceSamplerWithoutReplacement,
    StalenessAwareSampler,
    StreamingSliceSampler,
)
from rl_buffers.storages import BaseTensorStorage, Block, LazyTensorStorage, ListStorage, Storage, TensorStorage
from rl_buffers.transforms import InverseTransform, InvertedTransform, KeepingTransform
from rl_buffers.writers import (
    ImmutableDatasetWriter,
    RoundRobinWriter,
    TensorDictMaxValueWriter,
    TensorDictRoundRobinWriter,
    Writer,
    WriterEnsemble,
)

__all__ = [
    "BaseTensorStorage",
    "Block",
    "ConsumingSampler",
    "HERReplayBuffer",
    "HindsightStrategy",
    "ImmutableDatasetWriter",
    "InverseTransform",
    "InvertedTransform",
    "KeepingTransform",
    "LazyTensorStorage",
    "LinearAnnealing",
    "ListStorage",
    "OfflineToOnlineReplayBuffer",
    "PendingSave",
    "PrioritizedReplayBuffer",
    "PrioritizedSampler",
    "PrioritizedSliceSampler",
    "RandomSampler",
    "RankPrioritizedSampler",
    "ReplayBuffer",
    "ReplayBufferEnsemble",
    "RoundRobinWriter",
    "Sampler",
    "SamplerEnsemble",
    "SamplerWithoutReplacement",
    "SliceSampler",
    "SliceSamplerWithoutReplacement",
    "StalenessAwareSampler",
    "Storage",
    "StorageEnsemble",
    "StreamingSliceSampler",
    "TensorDictMaxValueWriter",
    "TensorDictPrioritizedReplayBuffer",
    "TensorDictReplayBuffer",
    "TensorDictRoundRobinWriter",
    "TensorStorage",
    "Writer",
    "WriterEnsemble",
    "__version__",
]
