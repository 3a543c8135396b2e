"""Tensor specs for reinforcement learning in PyTorch: shape, dtype, device and domain of every entry of a TensorDict."""

from rl_specs.__about__ import __version__
from rl_specs.errors import DeviceError, DTypeError, MissingKeyError, ShapeError, SpecError, message, missing_key, near_matches
from rl_specs.keys import FlatDict, NestedKey, TensorMap, canonical_key, canonical_keys, join_key, key_str

__all__ = [
    "DTypeError",
    "DeviceError",
    "FlatDict",
    "MissingKeyError",
    "NestedKey",
    "ShapeError",
    "SpecError",
    "TensorMap",
    "__version__",
    "canonical_key",
    "canonical_keys",
    "join_key",
    "key_str",
    "message",
    "missing_key",
    "near_matches",
]
