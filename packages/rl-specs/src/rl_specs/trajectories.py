"""Trajectories in batches, which collectors, buffers and data sets share: one by one, and side by side with padding."""

from collections.abc import Iterator

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rl_specs.errors import ShapeError, message, missing_key
from rl_specs.keys import NestedKey, canonical_key

_IDS: tuple[NestedKey, ...] = (("collector", "traj_ids"), "traj_ids", "episode")
_FLAGS = ("done", "terminated", "truncated")


def iter_trajectories(data: TensorDictBase, trajectory_key: NestedKey | None = None) -> Iterator[TensorDictBase]:
    """The trajectories of a flat batch, one after another, as views of it.

    Args:
        data: batch `[T]`, the steps of each trajectory side by side in the order of time, such as a batch of slices.
        trajectory_key: entry with an id of the trajectory. By default `("collector", "traj_ids")`, `"traj_ids"` or
            `"episode"`, the first of them that there is; a trajectory ends where it changes. Where there is none, after
            `("next", "done")`, `("next", "terminated")` or `("next", "truncated")`.
    Yields:
        TensorDict `[L]`.
    Raises:
        ShapeError: the batch has not one dimension.
        MissingKeyError: nothing says where trajectories end.
    """
    if data.ndim != 1:
        fix = "Flatten it with data.reshape(-1)"
        problem = "dimensions of the batch"
        raise ShapeError(message("iter_trajectories", problem, expected="[T]", found=list(data.shape), fix=fix))
    if len(data):
        is_last = _ends("iter_trajectories", data, trajectory_key, None)
        yield from data.split(_lengths(is_last), 0)


def split_trajectories(
    rollout_tensordict: TensorDictBase,
    *,
    prefix: NestedKey | None = None,
    trajectory_key: NestedKey | None = None,
    done_key: NestedKey | None = None,
    as_nested: bool | torch.layout = False,
) -> TensorDictBase:
    """Trajectories of a batch, one per row, padded with zeros at the end.

    Args:
        rollout_tensordict: batch `[*B, T]`, time last; a batch of slices is `[T]`.
        prefix: where the ids and the mask are; by default `"collector"` where the batch has such an entry, else the
            root.
        trajectory_key: entry with an id of the trajectory; `"traj_ids"` under `prefix` by default, where there is one.
        done_key: name, under `"next"`, of the flag after which a trajectory ends, instead of ids: `"truncated"`, say,
            for a batch of slices. By default `"done"`, where there are no ids.
        as_nested: give nested tensors in place of padded ones: True for the layout `torch.jagged`, which holds the
            steps of the batch as they are, or the layout.
    Returns:
        TensorDict `[N, L]`: `N` trajectories in the order in which they appear, `L` the length of the longest; `"mask"`
        beside the ids, bool `[N, L]`, is true on real steps. With `as_nested` TensorDict `[N]` of entries `[N, *, ...]`
        without a mask, which may share memory with the batch.
    Raises:
        ShapeError: the batch has no step.
        ValueError: `as_nested` is neither a bool nor a layout of nested tensors.
        MissingKeyError: nothing says where trajectories end.
    """
    data = rollout_tensordict
    layout = torch.jagged if as_nested is True else as_nested
    if layout not in (False, torch.jagged, torch.strided):
        expected = "a bool, torch.jagged or torch.strided"
        raise ValueError(message("split_trajectories", "as_nested", expected=expected, found=as_nested))
    if not data.ndim or not data.batch_size.numel():
        expected, found = "at least one step, [*B, T]", list(data.shape)
        raise ShapeError(message("split_trajectories", "the batch has no step", expected=expected, found=found))
    if prefix is None:
        prefix = "collector" if "collector" in data else ()
    root = (prefix,) if isinstance(prefix, str) else tuple(prefix)
    if trajectory_key is None and done_key is None and (*root, "traj_ids") in data.keys(True):
        trajectory_key = (*root, "traj_ids")
    mask_key = (*root, "mask")
    if trajectory_key is not None:
        mask_key = (*((trajectory_key,) if isinstance(trajectory_key, str) else trajectory_key)[:-1], "mask")
    is_last = _ends("split_trajectories", data, trajectory_key, "done" if done_key is None else done_key)
    flat = data.reshape(-1)
    lengths = _lengths(is_last.reshape(-1))
    if isinstance(layout, torch.layout):
        return _nested(flat, lengths, layout)
    pieces = flat.split(lengths, 0)
    longest = max(lengths)
    mask = torch.arange(longest, device=is_last.device) < torch.tensor(lengths, device=is_last.device).unsqueeze(1)
    out = TensorDict(batch_size=mask.shape, device=data.device)
    for key in flat.keys(True, True):
        out.set(key, pad_sequence([piece.get(key) for piece in pieces], batch_first=True))
    out.set(canonical_key(mask_key), mask)
    out.names = [None, "time"]
    return out


def _nested(flat: TensorDictBase, lengths: list[int], layout: torch.layout) -> TensorDictBase:
    """Trajectories of the given lengths in a batch `[T]`, as nested tensors, all of them with the same offsets."""
    out = TensorDict(batch_size=[len(lengths)], device=flat.device)
    ends = torch.tensor([0, *lengths], device=flat.device).cumsum(0)
    for key in flat.keys(True, True):
        steps = flat.get(key)
        if layout == torch.jagged:
            steps = steps.contiguous()
            shortest, longest = min(lengths), max(lengths)
            nested = torch.nested.nested_tensor_from_jagged(steps, ends, min_seqlen=shortest, max_seqlen=longest)
            out.set(key, nested)
        else:
            out.set(key, torch.nested.as_nested_tensor(list(steps.split(lengths)), layout=layout))
    return out


def _ends(component: str, data: TensorDictBase, trajectory_key: NestedKey | None, done_key: NestedKey | None) -> Tensor:
    """Whether a trajectory ends with a step, bool `[*B, T]`; every row of the batch ends one.

    With `trajectory_key` by ids, with `done_key` by that flag, and with neither by whatever there is.
    """
    shape = data.batch_size
    is_last = torch.zeros(shape, dtype=torch.bool, device=data.device)
    keys = [trajectory_key] if trajectory_key is not None else list(_IDS) if done_key is None else []
    ids = next((data.get(key) for key in keys if key in data.keys(True)), None)
    if ids is not None:
        same = ids.reshape(*shape, -1)
        is_last = torch.zeros(shape, dtype=torch.bool, device=ids.device)
        is_last[..., :-1] = (same[..., 1:, :] != same[..., :-1, :]).any(-1)
    elif trajectory_key is not None:
        raise missing_key(component, trajectory_key, data.keys(True, True), fix="Name another with trajectory_key")
    else:
        names = [_under_next(done_key)] if done_key is not None else [("next", name) for name in _FLAGS]
        flags = [data.get(key) for key in names if key in data.keys(True)]
        if not flags:
            fix = "Store it, or name what tells trajectories apart"
            raise missing_key(component, names[0], data.keys(True, True), fix=fix)
        is_last = torch.stack([flag.reshape(*shape, -1).any(-1) for flag in flags]).any(0)
    is_last[..., -1] = True
    return is_last


def _under_next(key: NestedKey) -> tuple[str, ...]:
    path = (key,) if isinstance(key, str) else tuple(key)
    return path if path[0] == "next" else ("next", *path)


def _lengths(is_last: Tensor) -> list[int]:
    """Lengths of the pieces of `[n]` steps that end where `is_last` is true."""
    ends = is_last.nonzero().squeeze(1) + 1
    lengths: list[int] = torch.diff(ends, prepend=ends.new_zeros(1)).tolist()
    return lengths
