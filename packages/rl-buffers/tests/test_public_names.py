"""The public names of the package."""

import rl_buffers


def test_public_names() -> None:
    """The package exports these names and no others."""
    assert rl_buffers.__all__ == [
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
        "MultiStep",
        "OfflineToOnlineReplayBuffer",
        "PendingSave",
        "PrioritizedReplayBuffer",
        "PrioritizedSampler",
        "PrioritizedSliceSampler",
        "RandomSampler",
        "ReplayBuffer",
        "RewardToGo",
        "ReplayBufferEnsemble",
        "RoundRobinWriter",
        "Sampler",
        "SamplerEnsemble",
        "SamplerWithoutReplacement",
        "SliceSampler",
        "SliceSamplerWithoutReplacement",
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
        "find_start_stop_traj",
        "iter_trajectories",
        "split_trajectories",
    ]
    assert all(hasattr(rl_buffers, name) for name in rl_buffers.__all__)
