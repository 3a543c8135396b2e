"""The mathematics of the reward to go."""

import torch
from torch import Tensor

from rl_specs import ShapeError, message


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
