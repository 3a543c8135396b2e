"""The two masks: `terminated` cuts the bootstrap, `done` cuts the recursion."""

import torch
from torch import Tensor


def as_weight(is_cut: Tensor, like: Tensor) -> Tensor:
    """`1 - is_cut` in the dtype of `like`; by way of bytes, which convert several times faster than booleans."""
    return torch.logical_not(is_cut).view(torch.uint8).to(like.dtype)


def bootstrapped_reward(gamma: float | Tensor, next_state_value: Tensor, reward: Tensor, terminated: Tensor) -> Tensor:
    """`r_t + gamma * (1 - terminated_t) * V(s'_t)`; a value of a terminal state may be anything finite.

    Args:
        gamma: discount in [0, 1].
        next_state_value: `[*B, T, 1]` float.
        reward: `[*B, T, 1]` float.
        terminated: `[*B, T, 1]` bool.
    Returns:
        `[*B, T, 1]`, dtype of `next_state_value`.
    """
    return add_discounted(reward, gamma, as_weight(terminated, next_state_value), next_state_value)


def add_discounted(reward: Tensor, gamma: float | Tensor, weight: Tensor, value: Tensor) -> Tensor:
    """`reward + gamma * weight * value` in one pass where `gamma` is a number."""
    if isinstance(gamma, Tensor):
        return torch.addcmul(reward, weight * gamma, value)
    return torch.addcmul(reward, weight, value, value=gamma)


def cut_discount(discount: float | Tensor, done: Tensor, like: Tensor) -> Tensor:
    """`discount * (1 - done_t)`: coefficients of a recursion that stops where a trajectory ends."""
    return as_weight(done, like).mul_(discount)
