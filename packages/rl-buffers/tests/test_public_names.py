"""The public names of the package."""

import rl_buffers


def test_public_names() -> None:
    """The package exports these names and no others."""
    assert rl_buffers.__all__ == [
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
    assert all(hasattr(rl_buffers, name) for name in rl_buffers.__all__)
