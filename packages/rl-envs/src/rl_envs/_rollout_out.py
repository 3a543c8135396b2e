"""Steps written into a TensorDict that the caller brings."""

from collections.abc import Sequence
from typing import Any

import torch
from tensordict import LazyStackedTensorDict, TensorDictBase
from torch import Tensor

from rl_envs._flat import unpack_flat
from rl_specs import FlatDict, NestedKey, ShapeError, key_str, message, missing_key


def check_out(out: object, size: Sequence[int]) -> None:
    """Check the form of what steps are to be written into.

    Args:
        out: what was given.
        size: `[*B, T]`, the batch size that it needs.
    Raises:
        TypeError: it is no TensorDict.
        ShapeError: it has another batch size.
        ValueError: its memory repeats.
    """
    fix = "Pass an earlier rollout of as many steps, or env.fake_tensordict() expanded to that size and cloned"
    if not isinstance(out, TensorDictBase):
        expected, found = "a TensorDict", type(out).__name__
        raise TypeError(message("rollout", "out", expected=expected, found=found, fix=fix))
    if isinstance(out, LazyStackedTensorDict):
        raise TypeError(message("rollout", "out is a lazy stack", expected="one block of memory", fix=fix))
    check_memory(out)
    if out.batch_size != torch.Size(size):
        expected, found = str(tuple(size)), str(tuple(out.batch_size))
        raise ShapeError(message("rollout", "out has another batch size", expected=expected, found=found, fix=fix))


def check_memory(out: TensorDictBase) -> None:
    """Check that each element of what steps are written into has a place of its own.

    Raises:
        ValueError: an entry is expanded, so that one place stands for several steps or rows.
        TypeError: an entry is no tensor.
    """
    entries: dict[NestedKey, Any] = dict(unpack_flat(out))
    for key, value in entries.items():
        if not isinstance(value, Tensor):
            problem, fix = f"{key_str(key)} is no tensor", "Take it out, or collect without out"
            raise TypeError(message("rollout: out", problem, found=type(value).__name__, fix=fix))
        if any(step == 0 and size > 1 for step, size in zip(value.stride(), value.shape, strict=True)):
            problem = f"{key_str(key)} is expanded: steps written into it would lie on top of one another"
            raise ValueError(message("rollout: out", problem, fix="Pass out.clone()"))


def written_steps(out: TensorDictBase, steps: list[FlatDict], dim: int) -> TensorDictBase:
    """Write the steps into `out`, and return the part of it that they fill.

    Args:
        out: TensorDict `[*B, T]`; entries that the steps do not have stay as they are.
        steps: entries of each step `[*B]`, at most `T` of them.
        dim: number of dimensions of `B`, and so the one of time.
    Returns:
        A view `[*B, len(steps)]` of `out`, its last batch dimension named `"time"`.
    Raises:
        MissingKeyError: `out` lacks an entry.
        ShapeError: an entry of `out` has another shape or dtype.
    """
    targets: dict[Any, Tensor] = unpack_flat(out)
    for key, value in steps[0].items():
        target = targets.get(key)
        if target is None:
            fix = "Take an out with all entries of a step, such as an earlier rollout with the same policy"
            raise missing_key("rollout: out", key, targets, fix=fix)
        form = target.select(dim, 0)
        if form.shape != value.shape or form.dtype is not value.dtype:
            problem = f"{key_str(key)} of out has another form than that of a step"
            expected, found = f"{tuple(value.shape)} {value.dtype}", f"{tuple(form.shape)} {form.dtype}"
            raise ShapeError(message("rollout", problem, expected=expected, found=found))
    with torch.no_grad():
        for index, entries in enumerate(steps):
            for key, value in entries.items():
                targets[key].select(dim, index).copy_(value)
    filled: TensorDictBase = out[(slice(None),) * dim + (slice(len(steps)),)]
    filled.names = [*([None] * dim), "time"]
    return filled
