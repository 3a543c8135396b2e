"""Entries kept between two bounds."""

import math
from typing import ClassVar, final

import torch
from torch import Tensor

from rl_envs.transforms._leaf_specs import dry_run
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import Bounded, NestedKey, TensorSpec, message


@final
class ClipTransform(Transform):
    """Clamps entries to `[low, high]`.

    Args:
        in_keys: entries to clamp.
        out_keys: names of the results; `in_keys` when left out.
        low: lowest value; None: unbounded below.
        high: highest value; None: unbounded above.
    Raises:
        ValueError: no bound is given, or `low` is above `high`.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
        *,
        low: float | Tensor | None = None,
        high: float | Tensor | None = None,
    ) -> None:
        super().__init__(in_keys, out_keys)
        self._low = None if low is None else float(low)
        self._high = None if high is None else float(high)
        if self._low is None and self._high is None:
            raise ValueError(message("ClipTransform", "no bound given", fix="Give low, high or both"))
        if self._low is not None and self._high is not None and self._low > self._high:
            found = f"low={self._low}, high={self._high}"
            raise ValueError(message("ClipTransform", "bounds in the wrong order", expected="low <= high", found=found))

    @property
    def low(self) -> float | None:
        """Lowest value."""
        return self._low

    @property
    def high(self) -> float | None:
        """Highest value."""
        return self._high

    def _apply_transform(self, value: Tensor) -> Tensor:
        if value.is_floating_point():
            return torch.clamp(value, self._low, self._high)
        form = torch.iinfo(value.dtype)
        low = form.min if self._low is None else max(math.ceil(self._low), form.min)
        high = form.max if self._high is None else min(math.floor(self._high), form.max)
        return torch.clamp(value, low, high)

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        form = dry_run(self._apply_transform, spec)
        if isinstance(spec, Bounded):
            low, high = self._apply_transform(spec.space.low), self._apply_transform(spec.space.high)
        else:
            low = torch.full(form.shape, -torch.inf if self._low is None else self._low, device=form.device)
            high = torch.full(form.shape, torch.inf if self._high is None else self._high, device=form.device)
        if not form.dtype.is_floating_point and not bool((low.isfinite() & high.isfinite()).all()):
            return form
        return Bounded(low, high, shape=form.shape, device=form.device, dtype=form.dtype)

    def __repr__(self) -> str:
        return f"ClipTransform(low={self._low}, high={self._high}, keys={self.in_keys})"
