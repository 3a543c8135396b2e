"""Lambda-returns."""

import torch
from torch import Tensor

from rl_objectives.functional._checks import check_same_shape, check_time_dim
from rl_objectives.functional._discount import as_weight, bootstrapped_reward
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
    steps = reward.shape[time_dim]
    is_last = torch.zeros(steps, dtype=torch.bool, device=done.device)
    is_last[-1] = True
    cut = (done.movedim(time_dim, -1) | is_last).movedim(-1, time_dim)
    trace = as_weight(cut, reward) * lmbda
    one_step = bootstrapped_reward(gamma, next_state_value, reward, terminated)
    # What the trace carries is taken out of the bootstrap: lmbda * gamma * V' moves to the recursion.
    offset = one_step - trace * (one_step - reward)
    return scan_scratch(trace * gamma, offset, time_dim=time_dim)


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
