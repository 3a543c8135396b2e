"""Entries kept between two bounds."""

from typing import ClassVar, final

from torch import Tensor

from rl_envs.transforms._clamping import check_bounds, clamp, clamped_spec
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import NestedKey, TensorSpec


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
        check_bounds("ClipTransform", ("low", "high"), self._low, self._high)

    @property
    def low(self) -> float | None:
        """Lowest value."""
        return self._low

    @property
    def high(self) -> float | None:
        """Highest value."""
        return self._high

    def _apply_transform(self, value: Tensor) -> Tensor:
        return clamp(value, self._low, self._high)

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        return clamped_spec(spec, self._low, self._high)

    def __repr__(self) -> str:
        return f"ClipTransform(low={self._low}, high={self._high}, keys={self.in_keys})"
