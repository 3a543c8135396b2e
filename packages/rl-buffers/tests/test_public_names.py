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
        "ListStorage",
        "RandomSampler",
        "ReplayBuffer",
        "RoundRobinWriter",
        "Sampler",
        "SamplerWithoutReplacement",
        "SliceSampler",
        "Storage",
        "TensorDictReplayBuffer",
        "TensorStorage",
        "Writer",
        "__version__",
    ]
    assert all(hasattr(rl_buffers, name) for name in rl_buffers.__all__)
