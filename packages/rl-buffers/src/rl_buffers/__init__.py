"""Replay buffers for reinforcement learning on TensorDict: storages, samplers, writers."""

from rl_buffers.__about__ import __version__
from rl_buffers.buffers import ReplayBuffer, TensorDictReplayBuffer
from rl_buffers.checkpointers import (
    FlatStorageCheckpointer,
    H5StorageCheckpointer,
    ListStorageCheckpointer,
    NestedStorageCheckpointer,
    StorageCheckpointerBase,
    TensorStorageCheckpointer,
)
from rl_buffers.samplers import RandomSampler, Sampler, SamplerWithoutReplacement
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
from rl_buffers.transforms import InverseTransform, KeepingTransform
from rl_buffers.writers import RoundRobinWriter, Writer

__all__ = [
    "BaseListStorage",
    "BaseTensorStorage",
    "Block",
    "CompressedListStorage",
    "FlatStorageCheckpointer",
    "H5StorageCheckpointer",
    "InverseTransform",
    "KeepingTransform",
    "LazyMemmapStorage",
    "LazyStackStorage",
    "LazyTensorStorage",
    "ListStorage",
    "ListStorageCheckpointer",
    "NestedStorageCheckpointer",
    "RandomSampler",
    "ReplayBuffer",
    "RoundRobinWriter",
    "Sampler",
    "SamplerWithoutReplacement",
    "Storage",
    "StorageCheckpointerBase",
    "TensorDictReplayBuffer",
    "TensorStorage",
    "TensorStorageCheckpointer",
    "Writer",
    "__version__",
]
