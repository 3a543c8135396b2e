"""One-step temporal differences."""

from torch import Tensor

from rl_objectives.functional._checks import check_same_shape
from rl_objectives.functional._discount import bootstrapped_reward


def td0_return_estimate(gamma: float | Tensor, next_state_value: Tensor, reward: Tensor, terminated: Tensor) -> Tensor:
    """One-step return `G_t = r_t + gamma * (1 - terminated_t) * V(s'_t)`.

    Args:
        gamma: discount in [0, 1], per step.
        next_state_value: `[*B, T, 1]` float.
        reward: `[*B, T, 1]` float.
        terminated: `[*B, T, 1]` bool; truncation alone does not cut the bootstrap.
    Returns:
        `[*B, T, 1]`.
    Raises:
        ShapeError: the tensors differ in shape.
    Source: Sutton and Barto 2018, eq. 6.2, http://incompleteideas.net/book/the-book-2nd.html
    """
    check_same_shape("td0_return_estimate", next_state_value=next_state_value, reward=reward, terminated=terminated)
    return bootstrapped_reward(gamma, next_state_value, reward, terminated)


def td0_advantage_estimate(
    gamma: float | Tensor, state_value: Tensor, next_state_value: Tensor, reward: Tensor, terminated: Tensor
) -> Tensor:
    """One-step advantage `A_t = r_t + gamma * (1 - terminated_t) * V(s'_t) - V(s_t)`; see `td0_return_estimate`.

    Raises:
        ShapeError: the tensors differ in shape.
    """
    check_same_shape("td0_advantage_estimate", next_state_value=next_state_value, state_value=state_value)
    return td0_return_estimate(gamma, next_state_value, reward, terminated) - state_value
