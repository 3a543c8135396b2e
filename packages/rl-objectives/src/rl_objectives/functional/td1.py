"""Discounted sums of rewards, bootstrapped where a trajectory is cut."""

from torch import Tensor

from rl_objectives.functional._checks import check_same_shape
from rl_objectives.functional.td_lambda import td_lambda_return_estimate


def td1_return_estimate(
    gamma: float | Tensor,
    next_state_value: Tensor,
    reward: Tensor,
    done: Tensor,
    terminated: Tensor | None = None,
    *,
    time_dim: int = -2,
) -> Tensor:
    """Discounted sum of the rewards to the end of the trajectory, plus the bootstrap where it was truncated.

        G_t = r_t + gamma * G_{t+1}                                 inside a trajectory
        G_t = r_t + gamma * (1 - terminated_t) * V(s'_t)            where done_t, and at the last step

    Args and Raises: as `td_lambda_return_estimate`, of which this is the case `lmbda = 1`.
    Returns:
        `[*B, T, 1]` return.
    Source: Sutton and Barto 2018, section 12.2, http://incompleteideas.net/book/the-book-2nd.html
    """
    return td_lambda_return_estimate(gamma, 1.0, next_state_value, reward, done, terminated, time_dim=time_dim)


def td1_advantage_estimate(
    gamma: float | Tensor,
    state_value: Tensor,
    next_state_value: Tensor,
    reward: Tensor,
    done: Tensor,
    terminated: Tensor | None = None,
    *,
    time_dim: int = -2,
) -> Tensor:
    """Discounted return less the value of the state, `A_t = G_t - V(s_t)`; see `td1_return_estimate`.

    Raises:
        ShapeError: the tensors differ in shape.
    """
    check_same_shape("td1_advantage_estimate", next_state_value=next_state_value, state_value=state_value)
    return td1_return_estimate(gamma, next_state_value, reward, done, terminated, time_dim=time_dim) - state_value
