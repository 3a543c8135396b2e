"""The policy terms of policy-gradient losses; each is negated, to be minimised, and not reduced."""

from typing import Any

import torch
from torch import Tensor

from rl_objectives.functional._checks import check_same_shape


def policy_gradient(log_prob: Tensor, advantage: Tensor) -> Tensor:
    """Score-function term `-log pi(a|s) * A`.

    Args:
        log_prob: `[*B, 1]` log-probability of the action under the policy that learns.
        advantage: `[*B, 1]`.
    Returns:
        `[*B, 1]`.
    Raises:
        ShapeError: the tensors differ in shape.
    Source: Williams 1992, https://doi.org/10.1007/BF00992696
    """
    check_same_shape("policy_gradient", advantage=advantage, log_prob=log_prob)
    return -log_prob * advantage


def surrogate(log_ratio: Tensor, advantage: Tensor) -> Tensor:
    """Importance-weighted term `-r * A`, with `r = exp(log_ratio)`.

    Args:
        log_ratio: `[*B, 1]` log of `pi_new(a|s) / pi_old(a|s)`.
        advantage: `[*B, 1]`.
    Returns:
        `[*B, 1]`.
    Raises:
        ShapeError: the tensors differ in shape.
    Source: Schulman et al. 2017, eq. 6, https://arxiv.org/abs/1707.06347
    """
    check_same_shape("surrogate", advantage=advantage, log_ratio=log_ratio)
    return -log_ratio.exp() * advantage


def clipped_surrogate(
    log_ratio: Tensor, advantage: Tensor, low: float | Tensor, high: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Clipped term `-min(r * A, clamp(r, 1 - low, 1 + high) * A)`, with `r = exp(log_ratio)`.

    Args:
        log_ratio: `[*B, 1]` log of `pi_new(a|s) / pi_old(a|s)`.
        advantage: `[*B, 1]`.
        low: radius below 1, in [0, 1).
        high: radius above 1.
    Returns:
        `(loss, is_clipped)`: `[*B, 1]`, and `[*B, 1]` bool, where the ratio is outside its interval.
    Raises:
        ShapeError: the tensors differ in shape.
    Source: Schulman et al. 2017, eq. 7, https://arxiv.org/abs/1707.06347; two radii: Yu et al. 2025,
    https://arxiv.org/abs/2503.14476
    """
    check_same_shape("clipped_surrogate", advantage=advantage, log_ratio=log_ratio)
    ratio = log_ratio.exp()
    seen = ratio.detach()
    held = seen.clamp(*_interval(low, high))
    cost = -advantage
    plain, clipped = ratio * cost, held * cost
    # The larger of the two, at which `max` would send half of a gradient each way and then add the halves up again.
    return torch.where(clipped > plain, clipped, plain), held != seen


def _interval(low: float | Tensor, high: float | Tensor) -> tuple[Any, Any]:
    """`(1 - low, 1 + high)`, without the type promotion that a Python number beside a tensor asks for."""
    one: Any = low.new_ones(()) if isinstance(low, Tensor) else 1.0
    return one - low, one + high


def kl_estimate_k1(log_ratio: Tensor) -> Tensor:
    """Estimate of `KL(pi_old || pi_new)` per sample of `pi_old`: `k1 = -log r`. Unbiased, may be negative.

    Args:
        log_ratio: log of `r = pi_new(a|s) / pi_old(a|s)`, any shape.
    Returns:
        The shape of `log_ratio`.
    Source: Schulman 2020, http://joschu.net/blog/kl-approx.html
    """
    return -log_ratio


def kl_estimate_k3(log_ratio: Tensor) -> Tensor:
    """Estimate of `KL(pi_old || pi_new)` per sample of `pi_old`: `k3 = (r - 1) - log r`. Unbiased, never negative.

    Args:
        log_ratio: log of `r = pi_new(a|s) / pi_old(a|s)`, any shape.
    Returns:
        The shape of `log_ratio`.
    Source: Schulman 2020, http://joschu.net/blog/kl-approx.html
    """
    return torch.expm1(log_ratio) - log_ratio


def effective_sample_size(log_ratio: Tensor) -> Tensor:
    """Effective share of the samples after importance weighting, `(sum r)^2 / (n * sum r^2)`.

    Args:
        log_ratio: log of the weights, any shape, n elements.
    Returns:
        Scalar in (0, 1]; 1 where all weights are equal.
    Source: Kong 1992, A note on importance sampling using standardized weights
    """
    # Weights are taken relative to the largest, which cancels in the quotient and cannot overflow.
    flat = log_ratio.reshape(-1)
    weight = (flat - flat.max()).exp()
    return weight.sum() * weight.mean() / weight.dot(weight)
