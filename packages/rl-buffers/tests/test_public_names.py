"""The public names of the package."""

import rl_buffers
from rl_buffers import datasets


def test_public_names() -> None:
    """The package exports these names and no others."""
    assert rl_buffers.__all__ == [
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
    assert all(hasattr(rl_buffers, name) for name in rl_buffers.__all__)


def test_public_names_of_data_sets() -> None:
    """The same for data sets, which are imported by themselves."""
    assert datasets.__all__ == [
        "AtariDQNExperienceReplay",
        "BaseDatasetExperienceReplay",
        "D4RLExperienceReplay",
        "EpisodeRecorder",
        "HDF5Recorder",
        "LeRobotExperienceReplay",
        "MinariExperienceReplay",
        "MinariRecorder",
        "ParquetRecorder",
        "RowSource",
    ]
