"""A root in a form that `torch.save` writes and `weights_only` loading reads."""

from typing import Any

import torch

from rl_specs import FlatDict, canonical_key


def pack_root(root: FlatDict) -> list[list[Any]]:
    """Pairs of key path and a copy of the tensor."""
    return [[[key] if isinstance(key, str) else list(key), value.clone()] for key, value in root.items()]


def unpack_root(saved: list[list[Any]], device: torch.device | None) -> FlatDict:
    """The flat dict that `pack_root` was given, its tensors copied to `device`."""
    return {canonical_key(tuple(path)): value.to(device, copy=True) for path, value in saved}
