"""Masks of the rows of a batch."""

import torch
from torch import Tensor

from rl_envs._env_plan import flag_groups, outermost
from rl_specs import NestedKey, TensorMap


def end_keys(flags: list[NestedKey]) -> list[NestedKey]:
    """Of the keys of flags, those that say that an episode has ended: of groups below others, none."""
    present = set(flags)
    return [group[0] for group in outermost(flag_groups(flags)) if group[0] in present] or flags


def done_rows(following: TensorMap, keys: list[NestedKey], batch_dims: int) -> Tensor:
    """Rows in which an episode has ended.

    Args:
        following: what a step returned.
        keys: flags, see `end_keys`.
        batch_dims: number of dimensions of the batch `B`.
    Returns:
        bool `[*B, 1]`.
    """
    rows: list[Tensor] = []
    for key in keys:
        flag: Tensor = following[key]
        rows.append(flag if flag.ndim == batch_dims + 1 else flag.flatten(batch_dims).any(-1, keepdim=True))
    return rows[0] if len(rows) == 1 else torch.stack(rows).any(0)


def beside(rows: Tensor, value: Tensor) -> Tensor:
    """A mask `[*B, 1]` with as many dimensions as `value`, `[*B, ...]`."""
    batch = rows.shape[:-1]
    return rows.reshape(batch + (1,) * (value.ndim - len(batch)))
