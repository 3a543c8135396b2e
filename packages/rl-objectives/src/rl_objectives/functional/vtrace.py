"""V-trace: off-policy corrected values."""

import math

from torch import Tensor

from rl_objectives.functional._checks import check_same_shape, check_time_dim
from rl_objectives.functional._discount import bootstrapped_reward, cut_discount
from rl_objectives.functional._scan import scan_scratch


def vtrace_advantage_estimate(
    gamma: float | Tensor,
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
        state_value: `[*B, T, 1]` float.
        next_state_value: `[*B, T, 1]` float, value of the state the step led to, before any reset.
        reward: `[*B, T, 1]` float.
        done: `[*B, T, 1]` bool, a trajectory ends here.
        terminated: `[*B, T, 1]` bool; None: as `done`.
        rho_thresh: clip of the weights of the temporal differences; it sets the fixed point.
        c_thresh: clip of the weights of the trace; it sets the speed of the contraction.
        time_dim: the dimension of size T.
    Returns:
        `(advantage, value_target)`, both `[*B, T, 1]`.
    Raises:
        ShapeError: the tensors differ in shape.
    Source: Espeholt et al. 2018, section 4.1, https://arxiv.org/abs/1802.01561
    """
    terminated = done if terminated is None else terminated
    check_same_shape(
        "vtrace_advantage_estimate",
        state_value=state_value,
        next_state_value=next_state_value,
        reward=reward,
        done=done,
        terminated=terminated,
        log_pi=log_pi,
        log_mu=log_mu,
    )
    check_time_dim("vtrace_advantage_estimate", reward, time_dim)
    log_ratio = log_pi - log_mu
    rho = _clipped_weight(log_ratio, rho_thresh)
    delta = bootstrapped_reward(gamma, next_state_value, reward, terminated).sub_(state_value).mul_(rho)
    link = cut_discount(gamma, done, delta)
    weight = link * rho
    coefficient = weight if c_thresh == rho_thresh else link * _clipped_weight(log_ratio, c_thresh)
    del log_ratio, rho, link  # the scan needs room
    target = scan_scratch(coefficient, delta.clone(), time_dim=time_dim).add_(state_value)
    # Where a trajectory goes on, the corrected value of the following step takes the place of that of the next state.
    before = reward.shape[time_dim] - 1
    change = target.narrow(time_dim, 1, before) - next_state_value.narrow(time_dim, 0, before)
    advantage = delta
    advantage.narrow(time_dim, 0, before).addcmul_(weight.narrow(time_dim, 0, before), change)
    return advantage, target


def _clipped_weight(log_ratio: Tensor, threshold: float) -> Tensor:
    """`min(threshold, pi/mu)`, clipped before the exponential: nothing overflows, gradients included."""
    limit = math.log(threshold) if threshold > 0 else -math.inf
    return log_ratio.clamp(max=limit).exp_()
