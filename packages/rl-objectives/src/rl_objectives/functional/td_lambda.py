"""Lambda-returns."""

import torch
from torch import Tensor

from rl_objectives.functional._checks import check_same_shape, check_time_dim
from rl_objectives.functional._discount import add_discounted, as_weight
from rl_objectives.functional._scan import scan_scratch


def td_lambda_return_estimate(
    gamma: float | Tensor,
    lmbda: float | Tensor,
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
        next_state_value: `[*B, T, 1]` float, value of the state the step led to, before any reset.
        reward: `[*B, T, 1]` float.
        done: `[*B, T, 1]` bool, a trajectory ends here.
        terminated: `[*B, T, 1]` bool; None: as `done`.
        time_dim: the dimension of size T.
    Returns:
        `[*B, T, 1]` return.
    Raises:
        ShapeError: the tensors differ in shape.
    Source: Sutton and Barto 2018, eq. 12.18 (recursive form), http://incompleteideas.net/book/the-book-2nd.html
    """
    terminated = done if terminated is None else terminated
    check_same_shape(
        "td_lambda_return_estimate",
        next_state_value=next_state_value,
        reward=reward,
        done=done,
        terminated=terminated,
    )
    check_time_dim("td_lambda_return_estimate", reward, time_dim)
    trace = as_weight(done, reward).mul_(lmbda)
    trace.select(time_dim, -1).zero_()  # the last step bootstraps as one that ends a trajectory does
    alive = as_weight(terminated, next_state_value)
    kept = torch.addcmul(alive, alive, trace, value=-1)  # of the bootstrap; the trace carries the rest
    offset = add_discounted(reward, gamma, kept, next_state_value)
    return scan_scratch(trace.mul_(gamma), offset, time_dim=time_dim)


def td_lambda_advantage_estimate(
    gamma: float | Tensor,
    lmbda: float | Tensor,
    state_value: Tensor,
    next_state_value: Tensor,
    reward: Tensor,
    done: Tensor,
    terminated: Tensor | None = None,
    *,
    time_dim: int = -2,
) -> Tensor:
    """Lambda-return less the value of the state, `A_t = G_t - V(s_t)`; see `td_lambda_return_estimate`.

    Raises:
        ShapeError: the tensors differ in shape.
    """
    check_same_shape("td_lambda_advantage_estimate", next_state_value=next_state_value, state_value=state_value)
    returns = td_lambda_return_estimate(gamma, lmbda, next_state_value, reward, done, terminated, time_dim=time_dim)
    return returns - state_value
