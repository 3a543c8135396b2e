"""Entries of an environment as values of Gymnasium spaces, and back."""

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from gymnasium import spaces
from tensordict import NonTensorData, NonTensorStack
from torch import Tensor
from torch.nn import functional

from rl_envs.gym import space_from_spec
from rl_specs import (
    Categorical,
    Composite,
    FlatDict,
    MultiOneHot,
    NestedKey,
    NonTensor,
    OneHot,
    ShapeError,
    TensorSpec,
    canonical_keys,
    key_str,
    message,
    missing_key,
)

_TEXT: Final = spaces.Text(2**16, min_length=0, charset=string.printable)


@dataclass(frozen=True)
class Port:
    """One entry at the border: its name, the space of one environment's value, and how values cross.

    Args:
        key: name of the entry.
        space: values of one environment.
        convert: from the entry `[*B, ...]` to an array for an observation, from an array to the entry for an action.
    """

    key: NestedKey
    space: "spaces.Space[Any]"
    convert: Callable[[Any], Any]


def observation_ports(
    specs: Composite, batch_dims: int, left_out: Sequence[NestedKey]
) -> tuple[list[Port], list[Port]]:
    """Ports of the observations, and of those that go into the info.

    Args:
        specs: observation specs, `[*B, ...]`.
        batch_dims: number of dimensions of `B`.
        left_out: names of the entries for the info.
    Raises:
        MissingKeyError: one of these names is no observation, or none is left.
    """
    leaves = dict(specs.flat_items())
    names = canonical_keys(list(left_out))
    for key in names:
        if key not in leaves:
            raise missing_key("to_gymnasium: info_keys", key, leaves, fix="Name observations of the environment")
    kept = [_observation_port(key, spec, batch_dims) for key, spec in leaves.items() if key not in names]
    if not kept:
        problem = "no observation is left"
        raise KeyError(message("to_gymnasium: info_keys", problem, fix="Leave out one of them at least"))
    return kept, [_info_port(key, leaves[key], batch_dims) for key in names]


def action_ports(specs: Composite, batch_dims: int) -> list[Port]:
    """Ports of the actions of specs `[*B, ...]`."""
    return [_action_port(key, spec, batch_dims) for key, spec in specs.flat_items()]


def chosen_reward(names: Sequence[NestedKey], reward_key: NestedKey | None) -> NestedKey:
    """The name of the reward.

    Raises:
        KeyError: there are several and none is named, or the name is none of them.
    """
    listed = ", ".join(key_str(name) for name in names)
    if reward_key is None:
        if len(names) != 1:
            fix = "Name the one to learn from: reward_key=..., or add them up with a transform"
            raise KeyError(message("to_gymnasium", "not exactly one reward entry", found=listed, fix=fix))
        return names[0]
    wanted = canonical_keys(reward_key)[0]
    if wanted not in names:
        raise KeyError(message("to_gymnasium", "reward_key names no reward", expected=listed, found=key_str(wanted)))
    return wanted


def check_single_reward(key: NestedKey, spec: TensorSpec, batch_dims: int) -> None:
    """Check that the reward of an environment is one number.

    Raises:
        ShapeError: it has members, such as agents.
    """
    members = spec.shape[batch_dims:]
    if members.numel() != 1:
        fix = "Pass sum_rewards=True to add them up, or name another reward_key"
        problem = f"reward {key_str(key)} has {members.numel()} members"
        raise ShapeError(message("to_gymnasium", problem, expected="one number", found=tuple(members), fix=fix))


def joint_space(ports: Sequence[Port]) -> "spaces.Space[Any]":
    """The space of the only port, or a `Dict` of them, nested as their names are."""
    if len(ports) == 1:
        return ports[0].space
    tree = nested({port.key: port.space for port in ports})
    return _dict_space(tree)


def outside(ports: Sequence[Port], entries: FlatDict) -> Any:
    """Entries as a value of `joint_space`."""
    if len(ports) == 1:
        return ports[0].convert(entries[ports[0].key])
    return nested({port.key: port.convert(entries[port.key]) for port in ports})


def inside(ports: Sequence[Port], value: Any) -> FlatDict:
    """A value of `joint_space` as entries."""
    if len(ports) == 1:
        return {ports[0].key: ports[0].convert(value)}
    return {port.key: port.convert(_at(value, port.key)) for port in ports}


def nested(values: dict[NestedKey, Any]) -> dict[str, Any]:
    """Values by key as dicts in dicts."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        path = (key,) if isinstance(key, str) else key
        level = tree
        for name in path[:-1]:
            level = level.setdefault(name, {})
        level[path[-1]] = value
    return tree


def _dict_space(tree: dict[str, Any]) -> "spaces.Dict":
    return spaces.Dict({name: _dict_space(inner) if isinstance(inner, dict) else inner for name, inner in tree.items()})


def _at(value: Any, key: NestedKey) -> Any:
    for name in (key,) if isinstance(key, str) else key:
        value = value[name]
    return value


def object_of(value: Any) -> Any:
    """The object that a non-tensor entry holds; a tuple of them for a batch, nested for several dimensions."""
    if isinstance(value, (NonTensorData, NonTensorStack)) and value.batch_size:
        return tuple(object_of(row) for row in value.unbind(0))
    return value.data if isinstance(value, NonTensorData) else value


def _text(key: NestedKey, value: Any) -> Any:
    found = object_of(value)
    for text in found if isinstance(found, tuple) else (found,):
        if not isinstance(text, str):
            fix = "Put the entry into the info: info_keys=..."
            problem = f"observation {key_str(key)} is no text, and has no Gymnasium space"
            raise TypeError(message("to_gymnasium", problem, found=type(text).__name__, fix=fix))
    return found


def _space(row: TensorSpec) -> "spaces.Space[Any]":
    if row.is_dynamic:
        fix = "Bring the entry to one size with a transform"
        raise ShapeError(message("to_gymnasium", "a spec that leaves a size open", found=row, fix=fix))
    space = space_from_spec(row)
    if isinstance(space, spaces.MultiBinary) and len(space.shape) == 1:
        return spaces.MultiBinary(space.shape[0])  # libraries read its `n` as a number
    return space


def _row(spec: TensorSpec, batch_dims: int) -> TensorSpec:
    return spec.index((0,) * batch_dims) if batch_dims else spec


def _observation_port(key: NestedKey, spec: TensorSpec, batch_dims: int) -> Port:
    if isinstance(spec, NonTensor):
        return Port(key, _TEXT, partial(_text, key))
    space = _space(_row(spec, batch_dims))
    kind = space.dtype
    if isinstance(space, spaces.Discrete) and not batch_dims:
        return Port(key, space, lambda value: np.int64(value.item()))
    return Port(key, space, lambda value: np.array(value.detach().cpu().numpy(), dtype=kind))


def _info_port(key: NestedKey, spec: TensorSpec, batch_dims: int) -> Port:
    """Port of an entry for the info, which may be of any form."""
    if isinstance(spec, NonTensor):
        return Port(key, _TEXT, object_of)
    if spec.is_dynamic:
        return Port(key, _TEXT, lambda value: np.array(value.detach().cpu().numpy()))
    return _observation_port(key, spec, batch_dims)


def _action_port(key: NestedKey, spec: TensorSpec, batch_dims: int) -> Port:
    row = _row(spec, batch_dims)
    device, shape = spec.device, spec.shape

    def tensor(value: Any, dtype: torch.dtype | None) -> Tensor:
        return torch.as_tensor(np.array(value), dtype=dtype, device=device)

    if isinstance(row, OneHot):
        n, dtype = row.shape[-1], row.dtype
        sizes = np.full(row.shape[:-1], n, dtype=np.int64)
        indices = spaces.MultiDiscrete(sizes) if sizes.ndim else spaces.Discrete(n)
        return Port(key, indices, lambda value: functional.one_hot(tensor(value, torch.int64), n).to(dtype))
    if isinstance(row, MultiOneHot) and row.ndim == 1:
        counts, dtype = [int(n) for n in row.nvec], row.dtype

        def one_hots(value: Any) -> Tensor:
            columns = tensor(value, torch.int64).unbind(-1)
            parts = [functional.one_hot(column, n) for column, n in zip(columns, counts, strict=True)]
            return torch.cat(parts, -1).to(dtype)

        return Port(key, spaces.MultiDiscrete(counts), one_hots)
    is_one_category = isinstance(row, Categorical) and row.shape.numel() == 1
    values = spaces.Discrete(int(row.space.n)) if is_one_category else _space(row)
    return Port(key, values, lambda value: tensor(value, spec.dtype).reshape(shape))
