"""Masks of resets: which rows start anew and, where a group of entries has flags of its own, which of its members."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from rl_envs._env_plan import RESET_KEY, flag_groups, outermost
from rl_envs._input_checks import check_reset_mask
from rl_envs._row_choice import chosen_rows
from rl_specs import Composite, DTypeError, FlatDict, NestedKey, ShapeError, canonical_key, key_str, message

Path = tuple[str, ...]


@dataclass(frozen=True)
class ResetMasks:
    """What a reset is to start anew.

    Args:
        rows: bool `[*B, 1]`, the rows of the batch that are concerned.
        members: masks of groups, by the path of the group: bool of the shape of its flags, `[*B, n, 1]`. Empty where
            whole rows start anew.
    """

    rows: Tensor
    members: dict[Path, Tensor]


def reset_keys(done_keys: Iterable[NestedKey]) -> list[NestedKey]:
    """Names of the masks that a reset takes, one per group of flags, the outermost first.

    Args:
        done_keys: names of the flags.
    Returns:
        `"_reset"` for flags at the root, `("agents", "_reset")` for flags under `"agents"`.
    """
    paths = dict.fromkeys(_path(key)[:-1] for key in done_keys)
    return [canonical_key((*path, RESET_KEY)) for path in sorted(paths, key=len)]


def take_reset_masks(
    entries: FlatDict, *, component: str, done: Composite, batch_size: torch.Size
) -> ResetMasks | None:
    """Take the masks out of the root entries that a reset is given.

    A mask at the root decides for all entries. Without one, the masks of groups do, and a row is concerned where any of
    its members is.

    Args:
        entries: root entries; the masks are removed.
        component: name of the env.
        done: flag specs of the env.
        batch_size: batch shape of the env.
    Returns:
        The masks; None where there are none.
    Raises:
        KeyError: a mask of a group that has no flags.
        DTypeError: a mask is not bool.
        ShapeError: a mask has another shape than `[*B, 1]`, or than the flags of its group.
    """
    given = {key: entries.pop(key) for key in list(entries) if _path(key)[-1] == RESET_KEY}
    if not given:
        return None
    root = given.pop(RESET_KEY, None)
    members = {_path(key)[:-1]: _member_mask(component, key, mask, done) for key, mask in given.items()}
    if root is not None:
        return ResetMasks(check_reset_mask(root, batch_size=batch_size, component=component), {})
    parts = [mask.flatten(len(batch_size)).any(-1, keepdim=True) for mask in members.values()]
    return ResetMasks(torch.stack(parts).any(0), members)


def whole_rows(masks: ResetMasks, *, component: str) -> ResetMasks:
    """The same masks for an env that starts whole rows only.

    Raises:
        ValueError: a mask names some members of a row and not others.
    """
    dims = masks.rows.ndim - 1
    for path, mask in masks.members.items():
        is_whole = mask.flatten(dims).all(-1, keepdim=True)
        if not bool((is_whole == masks.rows).all()):
            where = f"{component}.reset: mask {key_str((*path, RESET_KEY))}"
            fix = "Give the mask at the root, or set resets_members = True where _reset follows masks of groups"
            raise ValueError(message(where, "some members of a row, and the env starts whole rows", fix=fix))
    return ResetMasks(masks.rows, {})


def masked_entries(entries: FlatDict, masks: ResetMasks) -> FlatDict:
    """`entries` with the masks under their names, as `_reset` is given them."""
    named: FlatDict = {canonical_key((*path, RESET_KEY)): mask for path, mask in masks.members.items()}
    return {**entries, **named, RESET_KEY: masks.rows}


def keep_members(merged: FlatDict, before: FlatDict, masks: ResetMasks) -> FlatDict:
    """`merged`, with the entries of members outside their mask as they were before the reset.

    Args:
        merged: root entries after the reset of the rows.
        before: root entries before it.
        masks: what was to start anew.
    """
    kept = {key: value for key, value in merged.items() if _path(key)[-1] != RESET_KEY}
    for path, mask in masks.members.items():
        shape = mask.shape[:-1]
        for key, old in before.items():
            fresh = kept.get(key)
            if fresh is not None and _path(key)[: len(path)] == path and fresh.shape[: len(shape)] == shape:
                kept[key] = chosen_rows(key, mask.reshape(shape + (1,) * (fresh.ndim - len(shape))), fresh, old)
    return kept


def done_rows(entries: FlatDict, done_keys: Iterable[NestedKey], batch_dims: int) -> Tensor | None:
    """Rows whose episode is over, bool `[*B, 1]`: any of the outermost `done` flags is set. None: there is no flag."""
    groups = outermost(flag_groups([canonical_key(key) for key in done_keys]))
    flags = [entries[group[0]] for group in groups if group[0] in entries]
    if not flags:
        return None
    return torch.stack([flag.flatten(batch_dims).any(-1, keepdim=True) for flag in flags]).any(0)


def _member_mask(component: str, key: NestedKey, mask: Tensor, done: Composite) -> Tensor:
    where = f"{component}.reset: mask {key_str(key)}"
    path = _path(key)[:-1]
    shape = next((spec.shape for name, spec in done.flat_items() if _path(name)[:-1] == path), None)
    if shape is None:
        known = ", ".join(key_str(name) for name in reset_keys(name for name, _ in done.flat_items()))
        raise KeyError(message(where, "a group without flags", expected=f"one of {known}", found=key_str(key)))
    if mask.dtype is not torch.bool:
        raise DTypeError(message(where, "another dtype", expected=torch.bool, found=mask.dtype, fix="Pass mask.bool()"))
    if mask.shape == shape:
        return mask
    if mask.shape == shape[:-1] and shape[-1] == 1:
        return mask.unsqueeze(-1)
    fix = "Give one flag per member of the group"
    raise ShapeError(message(where, "another shape", expected=tuple(shape), found=tuple(mask.shape), fix=fix))


def _path(key: NestedKey) -> Path:
    return (key,) if isinstance(key, str) else key
