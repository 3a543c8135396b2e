"""The public names of the package."""

import rl_buffers


def test_public_names() -> None:
    """The package exports these names and no others."""
    assert rl_buffers.__all__ == [
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
    assert all(hasattr(rl_buffers, name) for name in rl_buffers.__all__)
