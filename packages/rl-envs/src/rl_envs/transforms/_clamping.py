"""Clamping to two bounds, of values and of specs."""

import math

import torch
from torch import Tensor

from rl_envs.transforms._leaf_specs import dry_run
from rl_specs import Bounded, TensorSpec, Unbounded, message


def as_bound(component: str, name: str, bound: float | Tensor | None) -> float | None:
    """A bound as a number; None stays.

    Args:
        component: class that asks, for messages.
        name: what the class calls the bound.
        bound: a number, or a tensor of one element.
    Raises:
        ValueError: it has several elements, or is no number (NaN).
    """
    if isinstance(bound, Tensor) and bound.numel() != 1:
        fix, found = "Append one transform for each bound", f"shape {tuple(bound.shape)}"
        raise ValueError(message(component, f"{name} has several elements", expected="one", found=found, fix=fix))
    number = None if bound is None else float(bound)
    if number is not None and math.isnan(number):
        raise ValueError(message(component, f"{name} is NaN", expected="a number or None", found=number))
    return number


def check_bounds(component: str, names: tuple[str, str], low: float | None, high: float | None) -> None:
    """Refuse bounds that are both missing, or in the wrong order.

    Args:
        component: class that asks, for messages.
        names: what the class calls the lower and the upper bound.
        low: lowest value; None: unbounded below.
        high: highest value; None: unbounded above.
    Raises:
        ValueError: no bound is given, or `low` is above `high`.
    """
    if low is None and high is None:
        raise ValueError(message(component, "no bound given", fix=f"Give {names[0]}, {names[1]} or both"))
    if low is not None and high is not None and low > high:
        expected, found = f"{names[0]} <= {names[1]}", f"{names[0]}={low}, {names[1]}={high}"
        raise ValueError(message(component, "bounds in the wrong order", expected=expected, found=found))


def clamp(value: Tensor, low: float | None, high: float | None) -> Tensor:
    """`value` clamped to `[low, high]`, in its dtype; bounds that are no integers are rounded inwards for integers."""
    if value.is_floating_point():
        return torch.clamp(value, low, high)
    if value.dtype is torch.bool:
        raise TypeError(message("clamp", "True and False have no bounds", fix="Cast the entry first"))
    form = torch.iinfo(value.dtype)
    lowest = form.min if low is None else max(math.ceil(low), form.min)
    highest = form.max if high is None else min(math.floor(high), form.max)
    return torch.clamp(value, lowest, highest)


def clamped_spec(spec: TensorSpec, low: float | None, high: float | None) -> TensorSpec:
    """Spec of a clamped entry: the tighter ones of its own bounds and these."""
    form = dry_run(lambda value: clamp(value, low, high), spec)
    if isinstance(spec, Bounded):
        lowest, highest = clamp(spec.space.low, low, high), clamp(spec.space.high, low, high)
    elif not form.dtype.is_floating_point and (low is None or high is None):
        return form
    else:
        whole = torch.finfo(form.dtype) if form.dtype.is_floating_point else torch.iinfo(form.dtype)
        ends = torch.tensor([whole.min, whole.max], dtype=form.dtype, device=form.device)
        lowest, highest = clamp(ends, low, high).unbind()
        if form.dtype.is_floating_point:
            lowest = lowest if low is not None else lowest.new_full((), -torch.inf)
            highest = highest if high is not None else highest.new_full((), torch.inf)
    return Bounded(lowest, highest, shape=form.shape, device=form.device, dtype=form.dtype)


def unclamped_spec(spec: TensorSpec, low: float | None, high: float | None) -> TensorSpec:
    """Spec of what becomes an entry of `spec` when it is clamped: without the bounds that clamping sees to.

    Args:
        spec: spec of the clamped entry; has values between `low` and `high`.
        low: lowest value; None: unbounded below.
        high: highest value; None: unbounded above.
    """
    if not isinstance(spec, Bounded):
        return spec
    whole = torch.finfo(spec.dtype) if spec.dtype.is_floating_point else torch.iinfo(spec.dtype)
    below, above = (-torch.inf, torch.inf) if spec.dtype.is_floating_point else (whole.min, whole.max)
    is_free_below = (spec.low <= low) if low is not None else torch.zeros_like(spec.low, dtype=torch.bool)
    is_free_above = (spec.high >= high) if high is not None else torch.zeros_like(spec.high, dtype=torch.bool)
    if bool(is_free_below.all() & is_free_above.all()):
        return Unbounded(shape=spec.shape, device=spec.device, dtype=spec.dtype)
    lowest, highest = spec.low.masked_fill(is_free_below, below), spec.high.masked_fill(is_free_above, above)
    return Bounded(lowest, highest, shape=spec.shape, device=spec.device, dtype=spec.dtype)
