"""Trajectories in batches and in rings: where they begin and end, one by one, and side by side with padding."""

import torch
from torch import Tensor

from rl_specs import message
from rl_specs.trajectories import iter_trajectories, split_trajectories

__all__ = ["find_start_stop_traj", "iter_trajectories", "split_trajectories"]


def find_start_stop_traj(
    *,
    trajectory: Tensor | None = None,
    end: Tensor | None = None,
    at_capacity: bool,
    cursor: int | Tensor | range | None = None,
    device: torch.device | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Where trajectories begin and end in the rows of a storage.

    Args:
        trajectory: `[T, *B]`, an id of the trajectory of each row, time first; give either this or `end`.
        end: bool `[T, *B]`, true on the last step of a trajectory.
        at_capacity: whether the rows are a full ring: a trajectory without an end in the last row goes on in row 0.
            If False the last row ends a trajectory.
        cursor: the row written last, or the rows; a trajectory does not go on after it (after the last of them).
        device: where to compute; None for where the tensor is.
    Returns:
        First step, last step, int64 `[N, 1 + len(B)]` each, as positions in `[T, *B]`, and number of steps, int64
        `[N]`, of the `N` trajectories: those of each element of `B` side by side, in the order of their last rows. Of a
        trajectory that goes on in row 0 the first step comes after the last.
    Raises:
        ValueError: not exactly one of `trajectory` and `end`.
    """
    if (trajectory is None) == (end is None):
        expected = "either trajectory or end"
        raise ValueError(message("find_start_stop_traj", "what tells trajectories apart", expected=expected))
    given = trajectory if end is None else end
    assert given is not None
    given = given.to(device) if device is not None else given
    count, shape = given.shape[0], given.shape[1:]
    rows = given.reshape(count, -1)
    is_last = rows.bool().clone() if trajectory is None else rows != rows.roll(-1, 0)
    if not at_capacity:
        is_last[-1] = True
    if cursor is not None:
        is_last[cursor if isinstance(cursor, int) else int(torch.as_tensor(cursor).reshape(-1)[-1])] = True
    is_last[-1] |= ~is_last.any(0)
    lane, stop = is_last.t().nonzero().unbind(1)
    is_first = torch.ones_like(lane, dtype=torch.bool)
    is_first[1:] = lane[1:] != lane[:-1]
    last_of_lane = count - 1 - is_last.flip(0).to(torch.uint8).argmax(0)
    start = torch.where(is_first, last_of_lane[lane], stop.roll(1)) + 1
    length = stop - start + 1
    start, length = start % count, torch.where(is_first & (length <= 0), length + count, length)
    beside = torch.unravel_index(lane, shape) if shape else ()
    return torch.stack([start, *beside], 1), torch.stack([stop, *beside], 1), length
