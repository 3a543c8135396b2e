"""Distances between predicted and target values, and how much of the target is explained."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from rl_objectives.functional._checks import check_same_shape
from rl_objectives.functional.reduce import Reduction, reduce_loss

Distance: TypeAlias = Literal["l1", "l2", "smooth_l1"]

_DISTANCES: dict[Distance, Callable[..., Tensor]] = {
    "l1": F.l1_loss,
    "l2": F.mse_loss,
    "smooth_l1": F.smooth_l1_loss,
}


def value_distance(
    value: Tensor, target: Tensor, kind: Distance = "smooth_l1", *, reduction: Reduction | None = None
) -> Tensor:
    """Distance of each prediction from its target.

        l1: |d|,  l2: d^2,  smooth_l1: d^2 / 2 where |d| < 1, else |d| - 1/2,  with d = value - target

    Args:
        value: `[*B, 1]` float predictions.
        target: `[*B, 1]` float targets.
        kind: "l1", "l2" or "smooth_l1".
        reduction: as for `reduce_loss`, in one operation with the distance; None leaves the shape as it is.
    Returns:
        `[*B, 1]`, or what `reduce_loss` makes of that.
    Raises:
        ShapeError: the tensors differ in shape.
    """
    check_same_shape("value_distance", value_target=target, state_value=value)
    distance = _DISTANCES[kind]
    if reduction is None or reduction == "none":
        entries = distance(value, target, reduction="none")
        return entries if reduction is None else reduce_loss(entries, "none")
    return distance(value, target, reduction=reduction)


def clipped_value_loss(
    value: Tensor, old_value: Tensor, target: Tensor, *, clip: float | Tensor, kind: Distance = "smooth_l1"
) -> tuple[Tensor, Tensor]:
    """The larger of the distances of the prediction and of the prediction held within `clip` of the old one.

        L = max(l(V, target), l(V_old + clamp(V - V_old, -clip, clip), target))

    Args:
        value: `[*B, 1]` float predictions.
        old_value: `[*B, 1]` float predictions made when the data were collected.
        target: `[*B, 1]` float targets.
        clip: radius, in units of the value.
        kind: as for `value_distance`.
    Returns:
        `(loss, is_clipped)`: `[*B, 1]` loss, not reduced, and `[*B, 1]` bool, where the clipped distance is the larger.
    Raises:
        ShapeError: the tensors differ in shape.
    Source: Schulman et al. 2016, appendix, https://arxiv.org/abs/1506.02438; form of OpenAI baselines' PPO2
    """
    check_same_shape("clipped_value_loss", state_value=value, old_state_value=old_value)
    plain = value_distance(value, target, kind)
    change = value - old_value
    radius = torch.as_tensor(clip, dtype=value.dtype, device=value.device)
    held = value_distance(old_value + change.clamp(-radius, radius), target, kind)
    return torch.max(plain, held), change.abs() > clip


def explained_variance(value: Tensor, target: Tensor) -> Tensor:
    """Share of the variance of the targets that the predictions explain, `1 - Var(target - value) / Var(target)`.

    Args:
        value: `[*B, 1]` float predictions.
        target: `[*B, 1]` float targets.
    Returns:
        Scalar, at most 1; 0 where the targets do not vary.
    Raises:
        ShapeError: the tensors differ in shape.
    """
    check_same_shape("explained_variance", value_target=target, state_value=value)
    variance, unexplained = target.var(correction=0), (target - value).var(correction=0)
    return torch.where(variance > 0, (variance - unexplained) / variance, torch.zeros_like(variance))
