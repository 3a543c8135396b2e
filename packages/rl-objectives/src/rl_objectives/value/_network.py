"""Values of the observations before and after each step, in one call of the value network."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from rl_objectives._call import call_module
from rl_objectives._keys import read
from rl_objectives.value._each_once import evaluate_each_once, rows_to_value, treats_rows_alike
from rl_specs import NestedKey, ShapeError, join_key, message, missing_key

_FIX = "It is an input of the value network, read at the root and under next"


def resolve_time_dim(component: str, data: TensorDictBase, time_dim: int | None) -> int:
    """Batch dimension of time, counted from the front: `time_dim`, else the one named "time", else the last.

    Raises:
        ShapeError: `data` has no such dimension.
    """
    ndim = data.ndim
    if time_dim is None:
        names = data.names if ndim > 1 else []
        dim = names.index("time") if "time" in names else ndim - 1
    else:
        dim = time_dim + ndim if time_dim < 0 else time_dim
    if not 0 <= dim < ndim:
        raise ShapeError(
            message(
                component,
                "the data have no time dimension",
                expected="batch size [T] or [*B, T]" if time_dim is None else f"a batch dimension {time_dim}",
                found=list(data.batch_size),
                fix="Unsqueeze a time dimension, or pass time_dim",
            )
        )
    return dim


def evaluate(
    network: TensorDictModuleBase,
    data: TensorDictBase,
    time_dim: int,
    value_key: NestedKey,
    params: TensorDictBase | None,
    target_params: TensorDictBase | None,
) -> tuple[Tensor, Tensor]:
    """Values at the root and of the next observations, by one call unless their parameters differ."""
    name = type(network).__name__
    root: dict[NestedKey, Tensor] = {key: read(name, data, key, fix=_FIX) for key in network.in_keys}
    after: dict[NestedKey, Tensor] = {key: read(name, data, join_key("next", key), fix=_FIX) for key in network.in_keys}

    def value_of(entries: dict[NestedKey, Tensor], batch_size: Sequence[int]) -> Tensor:
        return _value(network, _as_tensordict(entries, batch_size, data.device), value_key)

    if target_params is not None:
        with _parameters(network, params):
            value = value_of(root, data.batch_size)
        with _parameters(network, target_params):
            return value, value_of(after, data.batch_size)
    with _parameters(network, params):
        if not torch.compiler.is_compiling() and _is_on_cpu(root) and treats_rows_alike(network):
            alone = rows_to_value(root, after, time_dim, data.ndim)
            if 2 * alone.numel() < data.numel():
                return evaluate_each_once(
                    lambda entries: value_of(entries, [data.numel() + alone.numel()]),
                    root,
                    after,
                    alone,
                    time_dim,
                    data.ndim,
                )
        both = {key: torch.stack([value, after[key]]) for key, value in root.items()}
        value, next_value = value_of(both, (2, *data.batch_size)).unbind(0)
    return value, next_value


def _is_on_cpu(entries: dict[NestedKey, Tensor]) -> bool:
    """Whether reading from `entries` waits for no accelerator."""
    return bool(entries) and all(value.device.type == "cpu" for value in entries.values())


def _as_tensordict(
    entries: dict[NestedKey, Tensor], batch_size: Sequence[int], device: torch.device | None
) -> TensorDict:
    inputs = TensorDict({}, batch_size, device=device)
    for key, value in entries.items():
        inputs.set(key, value)
    return inputs


def evaluate_shifted(
    network: TensorDictModuleBase,
    data: TensorDictBase,
    done: Tensor,
    time_dim: int,
    value_key: NestedKey,
    params: TensorDictBase | None,
) -> tuple[Tensor, Tensor]:
    """Values from one sequence that holds every observation once.

    After each step that ends a trajectory, and after the last, the stored next observation is inserted; elsewhere the
    next observation is the one that follows. So `V(s'_t)` always stands right after `V(s_t)`. A network with memory
    sees each trajectory as it happened: what follows an inserted step begins with a reset.
    """
    name = type(network).__name__
    ends = done.flatten(data.ndim).any(-1).movedim(time_dim, -1).clone()
    ends[..., -1] = True
    inserted_before = ends.cumsum(-1) - ends.long()
    position = torch.arange(ends.shape[-1], device=ends.device) + inserted_before
    rows = position.reshape(-1, position.shape[-1])
    length = int(rows.max()) + 2
    batch = torch.arange(rows.shape[0], device=rows.device).unsqueeze(-1)
    end_batch, end_step = ends.reshape(rows.shape).nonzero(as_tuple=True)
    end_position = rows[end_batch, end_step] + 1
    sequence = TensorDict({}, (rows.shape[0], length), device=data.device)
    for key in network.in_keys:
        root = _rows(read(name, data, key, fix=_FIX), time_dim, data.ndim)
        after = _rows(read(name, data, join_key("next", key), fix=_FIX), time_dim, data.ndim)
        entry = root.new_zeros((rows.shape[0], length, *root.shape[2:]))
        entry[batch, rows] = root
        entry[end_batch, end_position] = after[end_batch, end_step]
        sequence.set(key, entry)
    with _parameters(network, params):
        value = _value(network, sequence, value_key)
    shape = (*position.shape, *value.shape[2:])
    return (
        value[batch, rows].reshape(shape).movedim(position.ndim - 1, time_dim),
        value[batch, rows + 1].reshape(shape).movedim(position.ndim - 1, time_dim),
    )


def _rows(value: Tensor, time_dim: int, batch_ndim: int) -> Tensor:
    """`[*B, *F]` with time among the batch dimensions, as `[rows, T, *F]`."""
    last = value.movedim(time_dim, batch_ndim - 1)
    return last.reshape(-1, last.shape[batch_ndim - 1], *last.shape[batch_ndim:])


def _value(network: TensorDictModuleBase, inputs: TensorDict, key: NestedKey) -> Tensor:
    output = call_module(type(network).__name__, network, inputs, fix=_FIX)
    value: Tensor | None = output.get(key, None)
    if value is None:
        raise missing_key(
            type(network).__name__,
            key,
            network.out_keys,
            fix="The value network does not write it; rename with set_keys(value=...)",
        )
    return value


def _parameters(network: TensorDictModuleBase, params: TensorDictBase | None) -> AbstractContextManager[Any]:
    context: AbstractContextManager[Any] = nullcontext() if params is None else params.to_module(network)
    return context
