"""Steps from the arrays of a trajectory."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from rl_specs import ShapeError, SpecError, message


def nested_tensors(value: Any, component: str, path: tuple[str, ...]) -> Any:
    """Arrays of any nesting as tensors and dicts of these; elements of tuples and lists are named by position.

    Raises:
        SpecError: something is neither an array of numbers nor a container of such.
    """
    if isinstance(value, Mapping):
        return {str(key): nested_tensors(item, component, (*path, str(key))) for key, item in value.items()}
    if isinstance(value, tuple):
        return {str(i): nested_tensors(item, component, (*path, str(i))) for i, item in enumerate(value)}
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        problem = f"entry {'.'.join(path)} is no array of numbers"
        raise SpecError(message(component, problem, expected="booleans, integers or floats", found=array.dtype))
    if array.dtype == np.uint16 or array.dtype == np.uint32 or array.dtype == np.uint64:
        array = array.astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(array))


def sliced(value: Any, part: slice) -> Any:
    """A part of tensors, or of nested dicts of these, along the first dimension."""
    return {key: sliced(item, part) for key, item in value.items()} if isinstance(value, dict) else value[part]


def column(values: Any, dtype: torch.dtype) -> Tensor:
    """`[n]` numbers as a tensor `[n, 1]`."""
    return torch.as_tensor(np.asarray(values)).to(dtype).reshape(-1, 1)


def step_rows(
    component: str,
    *,
    observation: Any,
    following: Any,
    action: Any,
    reward: Any,
    terminated: Any,
    truncated: Any,
    episode: Any,
) -> TensorDict:
    """Steps `[n]` in the form of a rollout, with the number of their trajectory.

    Args:
        component: who reads, for messages.
        observation: tensor `[n, ...]` or a dict of these, before each step.
        following: the same after each step.
        action: likewise.
        reward, terminated, truncated: `[n]`.
        episode: `[n]` integers, or one for all.
    Raises:
        ShapeError: the arrays have different lengths.
    """
    flags = {"terminated": column(terminated, torch.bool), "truncated": column(truncated, torch.bool)}
    flags["done"] = flags["terminated"] | flags["truncated"]
    count = len(flags["done"])
    number = torch.as_tensor(episode, dtype=torch.int64)
    rows = {
        "observation": observation,
        "action": action,
        "episode": number.expand(count).clone() if number.ndim == 0 else number,
        **{name: torch.zeros(count, 1, dtype=torch.bool) for name in ("done", "terminated", "truncated")},
        "next": {"observation": following, "reward": column(reward, torch.float32), **flags},
    }
    lengths = {name: leaf.shape[0] for name, leaf in _leaves(rows, "")}
    if set(lengths.values()) != {count}:
        raise ShapeError(message(component, f"the arrays of a trajectory differ in length: {lengths}"))
    return TensorDict(rows, batch_size=[count])


def _leaves(value: Any, path: str) -> list[tuple[str, Tensor]]:
    if not isinstance(value, dict):
        return [(path, value)]
    return [leaf for key, item in value.items() for leaf in _leaves(item, f"{path}.{key}" if path else key)]
