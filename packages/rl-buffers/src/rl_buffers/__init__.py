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
from rl_buffers.checkpointers import (
    FlatStorageCheckpointer,
    H5StorageCheckpointer,
    ListStorageCheckpointer,
    NestedStorageCheckpointer,
    StorageCheckpointerBase,
    TensorStorageCheckpointer,
)
from rl_buffers.samplers import (
    ConsumingSampler,
    LinearAnnealing,
    PrioritizedSampler,
    PrioritizedSamplerBase,
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
from rl_buffers.storages import (
    BaseListStorage,
    BaseTensorStorage,
    Block,
    CompressedListStorage,
    LazyMemmapStorage,
    LazyStackStorage,
    LazyTensorStorage,
    ListStorage,
    Storage,
    TensorStorage,
)
from rl_buffers.trajectories import find_start_stop_traj, iter_trajectories, split_trajectories
from rl_buffers.transforms import InverseTransform, InvertedTransform, KeepingTransform, MultiStep, RewardToGo
from rl_buffers.writers import (
    ImmutableDatasetWriter,
    RoundRobinWriter,
    TensorDictMaxValueWriter,
    TensorDictRoundRobinWriter,
    Writer,
    WriterEnsemble,
)

__all__ = [
    "BaseListStorage",
    "BaseTensorStorage",
    "Block",
    "CompressedListStorage",
    "ConsumingSampler",
    "FlatStorageCheckpointer",
    "H5StorageCheckpointer",
    "HERReplayBuffer",
    "HindsightStrategy",
    "ImmutableDatasetWriter",
    "InverseTransform",
    "InvertedTransform",
    "KeepingTransform",
    "LazyMemmapStorage",
    "LazyStackStorage",
    "LazyTensorStorage",
    "LinearAnnealing",
    "ListStorage",
    "ListStorageCheckpointer",
    "MultiStep",
    "NestedStorageCheckpointer",
    "OfflineToOnlineReplayBuffer",
    "PendingSave",
    "PrioritizedReplayBuffer",
    "PrioritizedSampler",
    "PrioritizedSamplerBase",
    "PrioritizedSliceSampler",
    "RandomSampler",
    "RankPrioritizedSampler",
    "ReplayBuffer",
    "ReplayBufferEnsemble",
    "RewardToGo",
    "RoundRobinWriter",
    "Sampler",
    "SamplerEnsemble",
    "SamplerWithoutReplacement",
    "SliceSampler",
    "SliceSamplerWithoutReplacement",
    "StalenessAwareSampler",
    "Storage",
    "StorageCheckpointerBase",
    "StorageEnsemble",
    "StreamingSliceSampler",
    "TensorDictMaxValueWriter",
    "TensorDictPrioritizedReplayBuffer",
    "TensorDictReplayBuffer",
    "TensorDictRoundRobinWriter",
    "TensorStorage",
    "TensorStorageCheckpointer",
    "Writer",
    "WriterEnsemble",
    "__version__",
    "find_start_stop_traj",
    "iter_trajectories",
    "split_trajectories",
]
