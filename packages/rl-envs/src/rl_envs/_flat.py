"""Flat dicts: a step's entries in a plain `dict` whose nested keys are tuples.

Reading and writing an entry of a `dict` costs a twentieth of the same on a TensorDict, so this is what the hot path
holds. The two functions here go from one form to the other without copying a tensor.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from tensordict import LazyStackedTensorDict, NonTensorStack, TensorDict, TensorDictBase, is_tensor_collection

from rl_envs._ragged import Ragged, joined_rows, row_entries
from rl_specs import FlatDict, NestedKey, TensorMap, message


def pack_flat(data: FlatDict, batch_size: torch.Size, device: torch.device | None = None) -> TensorDict:
    """TensorDict over the tensors of a flat dict, nothing copied and nothing checked.

    Args:
        data: entries by canonical key; each shape starts with `batch_size`.
        batch_size: batch shape of the result and of every nested TensorDict in it.
        device: device that the result declares.
    Returns:
        A TensorDict that shares the tensors of `data`; a lazy stack along the first dimension where entries are ragged.
    """
    if Ragged in map(type, data.values()):
        rows = [pack_flat(row_entries(data, row), batch_size[1:], device) for row in range(batch_size[0])]
        return cast(TensorDict, LazyStackedTensorDict(*rows, stack_dim=0))
    root: dict[str, Any] = {}
    nested: dict[str, FlatDict] = {}
    for key, value in data.items():
        if isinstance(key, str):
            root[key] = value
        else:
            rest: NestedKey = key[1] if len(key) == 2 else key[1:]
            nested.setdefault(key[0], {})[rest] = value
    for name, entries in nested.items():
        root[name] = pack_flat(entries, batch_size, device)
    return TensorDict._new_unsafe(root, batch_size, device)


def unpack_flat(data: TensorMap) -> FlatDict:
    """Entries of a TensorDict by canonical key, nothing copied; a flat dict is returned as it is.

    Args:
        data: a TensorDict or a flat dict.
    Returns:
        A flat dict that shares the tensors of `data`.
    Raises:
        TypeError: `data` is neither.
    """
    if isinstance(data, dict):
        return data
    if not isinstance(data, TensorDictBase):
        raise TypeError(
            message("entries", "of another type", expected="a TensorDict or a dict", found=type(data).__name__)
        )
    if isinstance(data, LazyStackedTensorDict) and data.stack_dim == 0 and _differ(data.tensordicts):
        return joined_rows([unpack_flat(row) for row in data.tensordicts])
    flat: FlatDict = {}
    for key, value in data.items():
        if is_tensor_collection(type(value)) and isinstance(value, TensorDictBase) and not _is_objects(value):
            for inner, leaf in unpack_flat(value).items():
                flat[(key, inner) if isinstance(inner, str) else (key, *inner)] = leaf
        else:
            flat[key] = value
    return flat


def _is_objects(value: TensorDictBase) -> bool:
    """Whether `value` is an entry of text or objects rather than a level of entries."""
    return isinstance(value, NonTensorStack)


def _differ(rows: Sequence[TensorDictBase]) -> bool:
    """Whether rows have other entries, or entries of other shapes."""
    forms = [{key: _form(value) for key, value in row.items(include_nested=True, leaves_only=True)} for row in rows]
    return any(form != forms[0] for form in forms)


def _form(value: Any) -> Any:
    return (value.shape, value.dtype) if isinstance(value, torch.Tensor) else type(value)
