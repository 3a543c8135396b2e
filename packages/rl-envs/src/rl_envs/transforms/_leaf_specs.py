"""Specs of transformed entries, from the specs of the entries they come from."""

from collections.abc import Callable

import torch
from torch import Tensor

from rl_specs import Bounded, TensorSpec, Unbounded


def dry_run(function: Callable[[Tensor], Tensor], spec: TensorSpec) -> Unbounded:
    """Spec of `function`'s result, found out on an entry of zeros: its shape and dtype, no bounds.

    Args:
        function: maps one entry.
        spec: spec of the entry.
    Returns:
        An `Unbounded` with the result's shape, dtype and device.
    """
    with torch.no_grad():
        result = function(spec.zero())
    return Unbounded(shape=result.shape, dtype=result.dtype, device=result.device)


def monotone_image(function: Callable[[Tensor], Tensor], spec: TensorSpec) -> TensorSpec:
    """Spec of an elementwise monotone `function`'s result: bounds map to bounds.

    Args:
        function: maps one entry; monotone in every element, rising or falling.
        spec: spec of the entry.
    Returns:
        A `Bounded` when `spec` is one, else an `Unbounded`.
    """
    if not isinstance(spec, Bounded):
        return dry_run(function, spec)
    with torch.no_grad():
        first, second = function(spec.space.low), function(spec.space.high)
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    return Bounded(low, high, shape=low.shape, dtype=low.dtype, device=low.device)
