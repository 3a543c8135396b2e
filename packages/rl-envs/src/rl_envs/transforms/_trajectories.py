"""Windows over time in batches `[*B, T]` that hold several trajectories, one after the other."""

import math

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_specs import NestedKey, ShapeError, join_key, message, missing_key


def window_steps(done: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Which steps the windows that end at each step are made of.

    Args:
        done: bool `[*B, T]`, whether a trajectory ends after the step.
        size: number of steps `N` in a window.
    Returns:
        Steps, int64 `[*B, T, N]`, oldest first, where those before the trajectory's first step in the batch are that
        step; and bool of the same shape, True at these.
    """
    steps = torch.arange(done.shape[-1], device=done.device)
    is_first = torch.cat([torch.ones_like(done[..., :1]), done[..., :-1]], -1)
    first = torch.where(is_first, steps, 0).cummax(-1).values.unsqueeze(-1)
    wanted = steps.unsqueeze(-1) - torch.arange(size - 1, -1, -1, device=done.device)
    return torch.maximum(wanted, first), wanted < first


def take_steps(value: Tensor, steps: Tensor) -> Tensor:
    """Entries at some steps: `[*B, T, *F]` at `[*B, T, N]` gives `[*B, T, N, *F]`."""
    *batch, length, size = steps.shape
    features = value.shape[len(batch) + 1 :]
    count = math.prod(batch)
    rows = value.reshape(count, length, *features)
    row = torch.arange(count, device=value.device).reshape(-1, 1, 1)
    return rows[row, steps.reshape(count, length, size)].reshape(*batch, length, size, *features)


def trajectory_windows(
    component: str,
    data: TensorDictBase,
    keys: list[NestedKey],
    *,
    size: int,
    done_key: NestedKey,
    padding: float | None = None,
) -> list[Tensor]:
    """Windows of the last `size` values of entries, within trajectories.

    The window of an entry under `"next"` whose root entry is there too ends in the next value and has root values
    before it, as it had in the environment; without the root entry it is made of next values alone.

    Args:
        component: class that asks, for messages.
        data: steps `[*B, T]`, time last.
        keys: entries `[*B, T, *F]`.
        size: number of values `N` in a window.
        done_key: flag under `"next"` that ends a trajectory.
        padding: value before the start of a trajectory; None: its first value in `data`.
    Returns:
        One tensor `[*B, T, N, *F]` per key, oldest value first.
    Raises:
        MissingKeyError: an entry, or the flag, is not there.
        ShapeError: `data` has no time dimension.
    """
    if not data.batch_size:
        fix = "Pass steps in their order, such as env.rollout(...) returns"
        raise ShapeError(message(component, "no time dimension", expected="[*B, T]", found=(), fix=fix))
    done = _entry(component, data, join_key("next", done_key), "Store it with the steps, or rename with done_key=...")
    at = len(data.batch_size)
    steps, is_before = window_steps(done if done.ndim == at else done.flatten(at).any(-1), size)
    found = []
    for key in keys:
        value = _entry(component, data, key, "Rename with in_keys=[...]")
        root = data.get(key[1:], None) if isinstance(key, tuple) and key[0] == "next" else None
        taken = take_steps(value if root is None else root, steps)
        if padding is not None:
            features = (1,) * (taken.ndim - is_before.ndim)
            taken = taken.masked_fill(is_before.reshape(is_before.shape + features), padding)
        if root is not None:
            taken = torch.cat([taken.narrow(at, 1, size - 1), value.unsqueeze(at)], at)
        found.append(taken)
    return found


def _entry(component: str, data: TensorDictBase, key: NestedKey, fix: str) -> Tensor:
    value: Tensor | None = data.get(key, None)
    if value is None:
        raise missing_key(component, key, data.keys(include_nested=True, leaves_only=True), fix=fix)
    return value
