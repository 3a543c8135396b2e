"""Squashing of the real line into an interval, `low + (high - low) * sigmoid(2 u)`, and back.

With the bounds -1 and 1 that is `tanh(u)`. Bounds are floats or tensors; tensors are never read back.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rl_specs import message

Bound = Tensor | float


def checked_bounds(component: str, low: Bound, high: Bound, like: Tensor) -> tuple[Bound, Bound]:
    """Both bounds as floats, or both as tensors in the dtype of `like`, rounded inwards where they do not fit.

    Raises:
        ValueError: `low` is not below `high` (floats only).
    """
    if not isinstance(low, Tensor) and not isinstance(high, Tensor):
        if low >= high:
            raise ValueError(
                message(component, "low is not below high", expected="low < high", found=f"low={low}, high={high}")
            )
        return low, high
    lower = low if isinstance(low, Tensor) else like.new_full((), low)
    upper = high if isinstance(high, Tensor) else like.new_full((), high)
    if lower.dtype != like.dtype:
        lower = _rounded(lower, like.dtype, towards=math.inf)
    if upper.dtype != like.dtype:
        upper = _rounded(upper, like.dtype, towards=-math.inf)
    return lower, upper


def numbers_where_uniform(bounds: Mapping[str, Any]) -> dict[str, Any]:
    """Bounds that are one number for all entries as that number, which makes squashing and density cheaper.

    Reads the values of the tensors: for use when a policy is built, not when it runs.
    """
    found = dict(bounds)
    for name in ("low", "high", "min", "max"):
        bound = found.get(name)
        if isinstance(bound, Tensor) and bound.numel() > 0 and not bound.is_meta:
            first = bound.flatten()[0]
            if bool((bound == first).all()):
                found[name] = float(first)
    return found


def between(fraction: Tensor, low: Bound, high: Bound) -> Tensor:
    """The point at `fraction` in [0, 1] of the way from `low` to `high`: exact at both ends, never outside."""
    start = low if isinstance(low, Tensor) else fraction.new_full((), low)
    end = high if isinstance(high, Tensor) else fraction.new_full((), high)
    return torch.lerp(start, end, fraction)


def squash(pre_image: Tensor, low: Bound, high: Bound) -> Tensor:
    """Image of `pre_image` in `[low, high]`; rounding never takes it outside."""
    if not isinstance(low, Tensor) and not isinstance(high, Tensor) and low == -high:
        unit = torch.tanh(pre_image)
        return unit if high == 1.0 else unit * high
    return between(torch.sigmoid(pre_image + pre_image), low, high)


def half_log_slope(pre_image: Tensor) -> Tensor:
    """`(log d value/du - log(2 (high - low))) / 2` at `u`, from u itself: finite and differentiable everywhere."""
    # u - log(1 + exp(2 u)); the last argument is where softplus turns linear, beyond the precision of float64.
    return torch.sub(pre_image, F.softplus(pre_image, 2.0, 40.0), alpha=2)


def unsquash(value: Tensor, low: Bound, high: Bound) -> Tensor:
    """Pre-image of a value, finite; a value at or beyond a bound counts as lying just inside it.

    Just inside is a quarter of a rounding step of the interval's width. The pre-image comes from the distances to the
    two bounds, which are exact near the bounds; `atanh` has them exact for the bounds -1 and 1 only.

    Args:
        value: `[*S, *B, *E]`.
        low: lower bound.
        high: upper bound.
    Returns:
        The pre-image u, shape of `value`.
    """
    eps = torch.finfo(value.dtype).eps
    if not isinstance(low, Tensor) and low == -1.0 and high == 1.0:
        limit = 1.0 - 0.5 * eps
        return value.clamp(-limit, limit).atanh()
    width = high - low
    smallest = width * (0.25 * eps)
    below: Tensor = torch.clamp(value - low, smallest, width)  # type: ignore[arg-type]  # both are numbers or tensors
    above: Tensor = torch.clamp(high - value, smallest, width)  # type: ignore[arg-type]  # likewise
    return 0.5 * (below / above).log()


def _rounded(bound: Tensor, dtype: torch.dtype, *, towards: float) -> Tensor:
    rounded = bound.to(dtype)
    is_outside = rounded < bound if towards > 0 else rounded > bound
    return torch.where(is_outside, torch.nextafter(rounded, rounded.new_full((), towards)), rounded)
