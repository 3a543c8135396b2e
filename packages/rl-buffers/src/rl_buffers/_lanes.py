"""Data of several sequences side by side, `[*B, T, ...]`, as rows in the order of time."""

from math import prod

import torch
from torch import Size, Tensor

from rl_buffers._storage import Block
from rl_specs import SpecError, message


def by_time(leaves: list[Tensor], lanes: int, steps: int | None) -> Block:
    """Rows of leaves `[*B, T, size]`, or of one step `[*B, size]` when `steps` is None: lanes of a step, then the next.

    Args:
        leaves: entries, on which the result may share memory.
        lanes: product of `B`.
        steps: `T`.
    """
    if steps is not None:
        rows = [leaf.reshape(lanes, steps, leaf.shape[-1]).transpose(0, 1).flatten(0, 1) for leaf in leaves]
        return Block(lanes * steps, rows)
    if lanes == 1:
        return Block(1, [leaf.flatten() for leaf in leaves])
    return Block(lanes, [leaf.reshape(lanes, leaf.shape[-1]) for leaf in leaves])


def joined(steps: list[Block]) -> Block:
    """The rows of several steps, in the order given."""
    columns = zip(*(step.columns for step in steps), strict=True)
    rows = [torch.cat([part.reshape(-1, part.shape[-1]) for part in column]) for column in columns]
    return Block(sum(step.count for step in steps), rows)


def lane_refusal(component: str, lane_shape: Size, lead: Size, has_time: bool) -> SpecError:
    """Data of another number of sequences than those stored."""
    found = lead[:-1] if has_time else lead
    problem = "batch dimensions before time" if has_time else "batch dimensions of a step"
    fix = "Nothing was written. Store the same sequences side by side every time, or use ndim=1"
    return SpecError(message(component, problem, expected=list(lane_shape), found=list(found), fix=fix))


def no_room_for_lanes(component: str, max_size: int, lane_shape: Size) -> SpecError:
    """A capacity too small for one step, or no sequence at all."""
    problem = f"data of batch dimensions {list(lane_shape)} before time"
    expected = f"1 to {max_size} sequences, as max_size is {max_size} rows"
    return SpecError(
        message(component, problem, expected=expected, found=prod(lane_shape), fix="Give a larger max_size")
    )
