"""From data of several environments to what each is sent, and back from what each answered."""

from collections.abc import Collection
from typing import Final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_plan import RESET_KEY, merge_reset
from rl_envs._env_specs import prefixed
from rl_envs._flat import unpack_flat
from rl_envs._input_checks import check_reset_mask, check_tensordict
from rl_envs._ragged import row_entries
from rl_envs.parallel._async_traffic import Received, Sent
from rl_specs import FlatDict, NestedKey, ShapeError, canonical_key, message, missing_key

INDEX_KEY: Final = "env_index"


def with_rows(where: str, tensordict: TensorDictBase, batch_size: torch.Size) -> TensorDictBase:
    """Data of several environments `[n, *B]`, or of one `[*B]` as those of several.

    Args:
        where: who was given the data, for messages.
        tensordict: the data.
        batch_size: of all environments, `[N, *B]`.
    Raises:
        TypeError: no TensorDict.
        ShapeError: its batch size is another one.
    """
    check_tensordict(where, tensordict)
    if tensordict.batch_size == batch_size[1:]:
        return tensordict.unsqueeze(0)
    if len(tensordict.batch_size) != len(batch_size) or tensordict.batch_size[1:] != batch_size[1:]:
        expected, found = f"[n, {', '.join(map(str, batch_size[1:]))}]", tuple(tensordict.batch_size)
        fix = "Pass one row per environment"
        raise ShapeError(message(where, "data with another batch size", expected=expected, found=found, fix=fix))
    return tensordict


def parcels_of(where: str, tensordict: TensorDictBase, batch_size: torch.Size) -> dict[int, Sent]:
    """What each environment is sent.

    Args:
        where: who was given the data, for messages.
        tensordict: `[n, *B]`.
        batch_size: of all environments, `[N, *B]`.
    Raises:
        MissingKeyError: `"env_index"` is missing where it is needed.
        ValueError: it has numbers that are of no environment, or one twice.
    """
    entries = unpack_flat(tensordict)
    if RESET_KEY in entries:
        mask = check_reset_mask(entries[RESET_KEY], batch_size=tensordict.batch_size, component=where)
        entries = {**entries, RESET_KEY: mask}
    index = entries.get(INDEX_KEY)
    if index is not None:
        indices = _checked_indices(where, index, tensordict.batch_size[0], batch_size[0])
    elif tensordict.batch_size == batch_size:
        indices = list(range(batch_size[0]))
    else:
        fix = (
            'Keep what was received, or say which environments the rows are of: td["env_index"] = torch.tensor([2, 5])'
        )
        raise missing_key(where, INDEX_KEY, entries, fix=fix)
    own = {key: value.detach().clone() for key, value in entries.items()}  # the caller may write to what was sent
    return {index: _parcel(own, position) for position, index in enumerate(indices)}


def _checked_indices(where: str, index: Tensor, rows: int, count: int) -> list[int]:
    indices: list[int] = index.reshape(rows, -1)[:, 0].tolist() if rows else []
    if len(set(indices)) != len(indices) or not all(isinstance(each, int) and 0 <= each < count for each in indices):
        expected = f"different integers from 0 to {count - 1}"
        raise ValueError(message(where, f'"{INDEX_KEY}"', expected=expected, found=indices))
    return indices


def _parcel(entries: FlatDict, position: int) -> Sent:
    root: FlatDict = {}
    ahead: FlatDict = {}
    for key, value in row_entries(entries, position).items():
        if key[0] == "next" and isinstance(key, tuple):
            ahead[canonical_key(key[1:])] = value
        elif key != INDEX_KEY:
            root[key] = value
    return Sent(root, ahead)


def stepped_entries(received: Received) -> FlatDict:
    """The entries of one step: what was sent, and under `"next"` what was there and what the step returned."""
    root, following = received.sent.root, received.answer.following
    assert root is not None
    assert following is not None
    return {**root, **{prefixed(key): value for key, value in {**received.sent.ahead, **following}.items()}}


def reset_entries(received: Received, batch_dims: int) -> FlatDict:
    """Root entries after a reset: the fresh ones in the rows of the mask that was sent, if one was."""
    root, fresh = dict(received.sent.root or {}), received.answer.fresh
    assert fresh is not None
    mask = root.pop(RESET_KEY, None)
    return {**root, **fresh} if mask is None else merge_reset(root, fresh, mask, batch_dims)


def next_root(received: Received, *, not_carried: Collection[NestedKey], not_kept: Collection[NestedKey]) -> FlatDict:
    """The root of the next step, after a step and a reset of what was done.

    Args:
        received: of such a request.
        not_carried: entries of a step that are none of the next root.
        not_kept: entries of a root that are none of the next one.
    """
    sent, following, fresh = received.sent, received.answer.following, received.answer.fresh
    assert sent.root is not None
    assert following is not None
    assert fresh is not None
    stepped = {**sent.ahead, **following}
    root = {key: value for key, value in stepped.items() if key not in not_carried}
    kept = {key: value for key, value in sent.root.items() if key not in stepped and key not in not_kept}
    return {**root, **kept, **fresh}
