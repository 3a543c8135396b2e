"""Advantages and returns over `[rows, steps]` in plain torch, with the additions in the order of the kernels."""

import torch
from torch import Tensor

from rl_cuda._reverse_scan_torch import recurrence_torch


def gae_torch(
    value: Tensor, next_value: Tensor, reward: Tensor, done: Tensor, terminated: Tensor, gamma: float, lmbda: float
) -> tuple[Tensor, Tensor]:
    """Advantage and target; see `generalized_advantage_estimate`."""
    error = _error(value, next_value, reward, terminated, gamma)
    advantage = recurrence_torch(torch.full_like(reward, gamma * lmbda).masked_fill_(done, 0), error).contiguous()
    return advantage, (advantage + value).contiguous()


def lambda_return_torch(
    next_value: Tensor, reward: Tensor, done: Tensor, terminated: Tensor, gamma: float, lmbda: float
) -> Tensor:
    """Return; see `td_lambda_return_estimate`."""
    trace = torch.full_like(reward, lmbda).masked_fill_(done, 0)
    trace[:, -1] = 0
    offset = reward + gamma * ((1 - trace) * next_value.masked_fill(terminated, 0))
    return recurrence_torch(gamma * trace, offset).contiguous()


def vtrace_torch(
    log_pi: Tensor,
    log_mu: Tensor,
    value: Tensor,
    next_value: Tensor,
    reward: Tensor,
    done: Tensor,
    terminated: Tensor,
    gamma: float,
    max_log_rho: float,
    max_log_c: float,
) -> tuple[Tensor, Tensor]:
    """Advantage and target; see `vtrace_advantage_estimate`."""
    log_ratio = log_pi - log_mu
    rho, c = (log_ratio.clamp(max=limit).exp() for limit in (max_log_rho, max_log_c))
    link = torch.full_like(reward, gamma).masked_fill_(done, 0)
    own = rho * _error(value, next_value, reward, terminated, gamma)
    target = recurrence_torch(link * c, own) + value
    change = target[:, 1:] - next_value[:, :-1]
    goes_on = own[:, :-1] + (link * rho)[:, :-1] * change
    advantage = torch.cat((torch.where(done[:, :-1], own[:, :-1], goes_on), own[:, -1:]), 1)
    return advantage.contiguous(), target.contiguous()


def _error(value: Tensor, next_value: Tensor, reward: Tensor, terminated: Tensor, gamma: float) -> Tensor:
    return reward + gamma * next_value.masked_fill(terminated, 0) - value
