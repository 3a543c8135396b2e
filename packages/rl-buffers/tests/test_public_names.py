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
    assert all(hasattr(rl_buffers, name) for name in rl_buffers.__all__)
