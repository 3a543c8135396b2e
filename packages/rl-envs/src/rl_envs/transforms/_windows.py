"""Returns over windows of steps: the mathematics of multi-step targets and of the reward to go."""

import torch
from torch import Tensor

from rl_envs.transforms._stored import beside, last_of
from rl_specs import ShapeError, message


def window_lengths(is_last: Tensor, n_steps: int) -> Tensor:
    """Steps in the window that starts at each step: `n_steps`, or fewer where the trajectory ends before.

    Args:
        is_last: bool `[*B, T]`, whether a trajectory ends with the step; the data end one too.
        n_steps: length of a full window, at least 1.
    Returns:
        int64 `[*B, T]`, in `[1, n_steps]`.
    """
    positions = torch.arange(is_last.shape[-1], device=is_last.device)
    return (last_of(is_last) - positions + 1).clamp_max(n_steps)


def window_returns(reward: Tensor, lengths: Tensor, gamma: float) -> Tensor:
    """Discounted sum of the rewards in each window.

        R_t = sum_{i=0}^{l_t - 1} gamma^i r_{t+i}

    Args:
        reward: `[*B, T, *F]`; integers are summed as floats of torch's default dtype.
        lengths: int64 `[*B, T]`, steps `l_t` of the window at each step; none reaches beyond the data.
        gamma: discount in [0, 1], per step.
    Returns:
        `[*B, T, *F]`, a new tensor.
    Source: Sutton and Barto 2018, eq. 7.1, http://incompleteideas.net/book/the-book-2nd.html
    """
    time, steps = lengths.ndim - 1, lengths.shape[-1]
    total = reward.clone() if reward.is_floating_point() else reward.to(torch.get_default_dtype())
    longest = min(int(lengths.max()), steps) if lengths.numel() else 1
    for offset in range(1, longest):
        later = reward.narrow(time, offset, steps - offset)
        inside = beside(lengths.narrow(time, 0, steps - offset) > offset, later)
        total.narrow(time, 0, steps - offset).add_(torch.where(inside, later, 0), alpha=gamma**offset)
    return total


def reward_to_go(reward: Tensor, is_last: Tensor, gamma: float | Tensor, time: int) -> Tensor:
    """Discounted sum of the rewards from each step to the end of its episode.

        R_t = r_t + gamma * (1 - is_last_t) * R_{t+1}

    Args:
        reward: `[*B, T, *F]` float.
        is_last: bool of the shape of `reward`; the data end an episode too.
        gamma: discount in [0, 1], per step; a tensor broadcasts to one step of `reward`.
        time: dimension of time.
    Returns:
        `[*B, T, *F]`, a new tensor.
    Raises:
        ShapeError: the tensors differ in shape.
    """
    if reward.shape != is_last.shape:
        problem, found = "is_last has another shape", tuple(is_last.shape)
        raise ShapeError(message("reward_to_go", problem, expected=tuple(reward.shape), found=found))
    if not reward.is_floating_point():
        reward = reward.to(torch.get_default_dtype())
    result = torch.empty_like(reward)
    following = torch.zeros_like(reward.select(time, 0))
    for step in reversed(range(reward.shape[time])):
        following = torch.where(is_last.select(time, step), 0, following)
        following = reward.select(time, step) + gamma * following
        result.select(time, step).copy_(following)
    return result
