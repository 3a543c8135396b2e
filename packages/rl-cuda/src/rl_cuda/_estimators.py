"""Generalised advantages, lambda-returns and V-trace, each one operator of torch: one kernel reads, scans and writes.

`terminated` alone cuts the bootstrap; `done` (terminated or truncated) cuts the recursion. The value after a terminal
state is never read. The results are constants to autograd, as targets are meant to be.
"""

import math

import torch
from torch import Tensor

from rl_cuda._estimators_torch import gae_torch, lambda_return_torch, vtrace_torch
from rl_cuda._kernels import define
from rl_cuda._reverse_scan import fake_scan, launch_scan
from rl_cuda._time import check_steps, rows_of, shaped_as


def generalized_advantage_estimate(
    gamma: float,
    lmbda: float,
    state_value: Tensor,
    next_state_value: Tensor,
    reward: Tensor,
    done: Tensor,
    terminated: Tensor | None = None,
    *,
    time_dim: int = -2,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimate, by a reverse scan over time.

        delta_t = r_t + gamma * (1 - terminated_t) * V(s'_t) - V(s_t)
        A_t = delta_t + gamma * lmbda * (1 - done_t) * A_{t+1}

    Args:
        gamma: discount in [0, 1], per step.
        lmbda: trace decay in [0, 1].
        state_value: `[*B, T, 1]` float32 or float64.
        next_state_value: `[*B, T, 1]`, value of the state the step led to, before any reset.
        reward: `[*B, T, 1]`, received after the step.
        done: `[*B, T, 1]` bool, a trajectory ends here.
        terminated: `[*B, T, 1]` bool, a terminal state was reached; None: as `done`.
        time_dim: the dimension of size T.
    Returns:
        `(advantage, value_target)`, both `[*B, T, 1]`, without gradient; the target is `advantage + state_value`.
    Raises:
        ShapeError, DTypeError, DeviceError: the tensors differ, or are not as stated.
    Source: Schulman et al. 2015, eq. 16, https://arxiv.org/abs/1506.02438
    """
    terminated = done if terminated is None else terminated
    numbers = {"state_value": state_value, "next_state_value": next_state_value, "reward": reward}
    flags = {"done": done, "terminated": terminated}
    check_steps("generalized_advantage_estimate", numbers, flags, time_dim)
    rows = (rows_of(tensor.detach(), time_dim) for tensor in (*numbers.values(), *flags.values()))
    advantage, target = torch.ops.rl_cuda.gae(*rows, gamma, lmbda)
    return shaped_as(advantage, reward, time_dim), shaped_as(target, reward, time_dim)


def td_lambda_return_estimate(
    gamma: float,
    lmbda: float,
    next_state_value: Tensor,
    reward: Tensor,
    done: Tensor,
    terminated: Tensor | None = None,
    *,
    time_dim: int = -2,
) -> Tensor:
    """Lambda-return, by a reverse scan over time.

        V'_t = (1 - terminated_t) * V(s'_t)
        G_t = r_t + gamma * ((1 - lmbda) * V'_t + lmbda * G_{t+1})   inside a trajectory
        G_t = r_t + gamma * V'_t                                     where done_t, and at the last step

    Args:
        gamma: discount in [0, 1], per step.
        lmbda: trace decay in [0, 1]; 0 is the one-step return, 1 the discounted sum of rewards.
        next_state_value: `[*B, T, 1]` float32 or float64, value of the state the step led to, before any reset.
        reward: `[*B, T, 1]`.
        done: `[*B, T, 1]` bool, a trajectory ends here.
        terminated: `[*B, T, 1]` bool; None: as `done`.
        time_dim: the dimension of size T.
    Returns:
        `[*B, T, 1]` return, without gradient.
    Raises:
        ShapeError, DTypeError, DeviceError: the tensors differ, or are not as stated.
    Source: Sutton and Barto 2018, eq. 12.18 (recursive form), http://incompleteideas.net/book/the-book-2nd.html
    """
    terminated = done if terminated is None else terminated
    numbers, flags = {"next_state_value": next_state_value, "reward": reward}, {"done": done, "terminated": terminated}
    check_steps("td_lambda_return_estimate", numbers, flags, time_dim)
    rows = (rows_of(tensor.detach(), time_dim) for tensor in (*numbers.values(), *flags.values()))
    return shaped_as(torch.ops.rl_cuda.lambda_return(*rows, gamma, lmbda), reward, time_dim)


def vtrace_advantage_estimate(
    gamma: float,
    log_pi: Tensor,
    log_mu: Tensor,
    state_value: Tensor,
    next_state_value: Tensor,
    reward: Tensor,
    done: Tensor,
    terminated: Tensor | None = None,
    *,
    rho_thresh: float = 1.0,
    c_thresh: float = 1.0,
    time_dim: int = -2,
) -> tuple[Tensor, Tensor]:
    """V-trace advantage and value target, by a reverse scan over time.

        rho_t = min(rho_thresh, pi/mu),  c_t = min(c_thresh, pi/mu)
        delta_t = rho_t * (r_t + gamma * (1 - terminated_t) * V(s'_t) - V(s_t))
        v_t - V(s_t) = delta_t + gamma * c_t * (1 - done_t) * (v_{t+1} - V(s_{t+1}))
        A_t = rho_t * (r_t + gamma * v_{t+1} - V(s_t))

    Where a trajectory ends, and at the last step, `(1 - terminated_t) * V(s'_t)` stands for `v_{t+1}`.

    Args:
        gamma: discount in [0, 1], per step.
        log_pi: `[*B, T, 1]` log-probability of the action under the policy that learns.
        log_mu: `[*B, T, 1]` log-probability of the action under the policy that collected.
        state_value: `[*B, T, 1]` float32 or float64.
        next_state_value: `[*B, T, 1]`, value of the state the step led to, before any reset.
        reward: `[*B, T, 1]`.
        done: `[*B, T, 1]` bool, a trajectory ends here.
        terminated: `[*B, T, 1]` bool; None: as `done`.
        rho_thresh: clip of the weights of the temporal differences; it sets the fixed point.
        c_thresh: clip of the weights of the trace; it sets the speed of the contraction.
        time_dim: the dimension of size T.
    Returns:
        `(advantage, value_target)`, both `[*B, T, 1]`, without gradient.
    Raises:
        ShapeError, DTypeError, DeviceError: the tensors differ, or are not as stated.
    Source: Espeholt et al. 2018, section 4.1, https://arxiv.org/abs/1802.01561
    """
    terminated = done if terminated is None else terminated
    numbers = {"log_pi": log_pi, "log_mu": log_mu, "state_value": state_value}
    numbers |= {"next_state_value": next_state_value, "reward": reward}
    flags = {"done": done, "terminated": terminated}
    check_steps("vtrace_advantage_estimate", numbers, flags, time_dim)
    rows = (rows_of(tensor.detach(), time_dim) for tensor in (*numbers.values(), *flags.values()))
    limits = (math.log(limit) if limit > 0 else -math.inf for limit in (rho_thresh, c_thresh))
    advantage, target = torch.ops.rl_cuda.vtrace(*rows, gamma, *limits)
    return shaped_as(advantage, reward, time_dim), shaped_as(target, reward, time_dim)


def gae_kernels(*inputs: Tensor | float) -> tuple[Tensor, ...]:
    """The operator with the CUDA kernels; see `gae_torch`."""
    return launch_scan("gae", 2, *inputs)


def lambda_return_kernels(*inputs: Tensor | float) -> Tensor:
    """The operator with the CUDA kernels; see `lambda_return_torch`."""
    return launch_scan("lambda_return", 1, *inputs)[0]


def vtrace_kernels(*inputs: Tensor | float) -> tuple[Tensor, ...]:
    """The operator with the CUDA kernels; see `vtrace_torch`."""
    return launch_scan("vtrace", 2, *inputs)


def _fake_one(first: Tensor, *others: Tensor | float) -> Tensor:
    return fake_scan(first)


def _fake_two(first: Tensor, *others: Tensor | float) -> tuple[Tensor, Tensor]:
    return fake_scan(first), fake_scan(first)


define(
    "gae(Tensor value, Tensor next_value, Tensor reward, Tensor done, Tensor terminated, float gamma, float lmbda)"
    " -> (Tensor, Tensor)",
    kernels=gae_kernels,
    portable=gae_torch,
    fake=_fake_two,
)
define(
    "lambda_return(Tensor next_value, Tensor reward, Tensor done, Tensor terminated, float gamma, float lmbda)"
    " -> Tensor",
    kernels=lambda_return_kernels,
    portable=lambda_return_torch,
    fake=_fake_one,
)
define(
    "vtrace(Tensor log_pi, Tensor log_mu, Tensor value, Tensor next_value, Tensor reward, Tensor done,"
    " Tensor terminated, float gamma, float max_log_rho, float max_log_c) -> (Tensor, Tensor)",
    kernels=vtrace_kernels,
    portable=vtrace_torch,
    fake=_fake_two,
)
