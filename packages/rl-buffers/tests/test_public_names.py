"""The public names of the package."""

import rl_buffers


def test_public_names() -> None:
    """The package exports these names and no others."""
    assert rl_buffers.__all__ == [
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
    assert all(hasattr(rl_buffers, name) for name in rl_buffers.__all__)
