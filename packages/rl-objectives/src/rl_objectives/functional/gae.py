"""Generalised advantage estimation."""

from torch import Tensor

from rl_objectives.functional._checks import check_same_shape, check_time_dim
from rl_objectives.functional._discount import bootstrapped_reward, cut_discount
from rl_objectives.functional._scan import scan_scratch


def generalized_advantage_estimate(
    gamma: float | Tensor,
    lmbda: float | Tensor,
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

    `terminated` alone cuts the bootstrap; `done` (terminated or truncated) cuts the recursion. `next_state_value` is
    the value of the stored next observation, so a truncated step bootstraps from the state it ended in.

    Args:
        gamma: discount in [0, 1], per step.
        lmbda: trace decay in [0, 1].
        state_value: `[*B, T, 1]` float.
        next_state_value: `[*B, T, 1]` float, value of the state the step led to, before any reset.
        reward: `[*B, T, 1]` float, received after the step.
        done: `[*B, T, 1]` bool, a trajectory ends here.
        terminated: `[*B, T, 1]` bool, a terminal state was reached; None: as `done`.
        time_dim: the dimension of size T.
    Returns:
        `(advantage, value_target)`, both `[*B, T, 1]`; the target is `advantage + state_value`.
    Raises:
        ShapeError: the tensors differ in shape.
    Source: Schulman et al. 2015, eq. 16, https://arxiv.org/abs/1506.02438
    """
    terminated = done if terminated is None else terminated
    check_same_shape(
        "generalized_advantage_estimate",
        state_value=state_value,
        next_state_value=next_state_value,
        reward=reward,
        done=done,
        terminated=terminated,
    )
    check_time_dim("generalized_advantage_estimate", state_value, time_dim)
    delta = bootstrapped_reward(gamma, next_state_value, reward, terminated).sub_(state_value)
    coefficient = cut_discount(gamma * lmbda, done, delta)
    advantage = scan_scratch(coefficient, delta, time_dim=time_dim)
    return advantage, advantage + state_value
