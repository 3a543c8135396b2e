"""A root in a form that `torch.save` writes and `weights_only` loading reads."""

from collections.abc import Mapping
from typing import Any

import torch

from rl_specs import FlatDict, canonical_key, message


def pack_root(root: FlatDict) -> list[list[Any]]:
    """Pairs of key path and a copy of the tensor."""
    return [[[key] if isinstance(key, str) else list(key), value.clone()] for key, value in root.items()]


def unpack_root(saved: list[list[Any]], device: torch.device | None) -> FlatDict:
    """The flat dict that `pack_root` was given, its tensors copied to `device`."""
    return {canonical_key(tuple(path)): value.to(device, copy=True) for path, value in saved}


def ahead_batches(component: str, state: Mapping[str, Any], *, most: int) -> list[FlatDict]:
    """Batches in a collector's state that were collected ahead of its learner, oldest first.

    Args:
        component: who is to go on from the state.
        state: as `Collector.state_dict` returns it.
        most: how many it may be ahead.
    Raises:
        ValueError: there are more.
    """
    ahead = state.get("ahead")
    saved = [] if ahead is None else ahead["batches"]
    if len(saved) > most:
        problem = "the state has more batches collected ahead of the learner than this collector may have"
        fix = f"Make the collector with overlap={len(saved)}"
        raise ValueError(message(component, problem, expected=f"at most {most}", found=len(saved), fix=fix))
    return [unpack_root(batch, None) for batch in saved]
