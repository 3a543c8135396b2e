"""Rewards kept between two bounds."""

from typing import ClassVar, final

from torch import Tensor

from rl_envs.transforms._clamping import as_bound, check_bounds, clamp, clamped_spec
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import NestedKey, TensorSpec


@final
class RewardClipping(Transform):
    """Clamps rewards to `[clamp_min, clamp_max]`.

    Args:
        clamp_min: lowest reward; None: unbounded below.
        clamp_max: highest reward; None: unbounded above.
        in_keys: rewards to clamp, default `"reward"`.
        out_keys: names of the results; `in_keys` when left out.
    Raises:
        ValueError: no bound is given, one is no single number, or `clamp_min` is above `clamp_max`.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        clamp_min: float | None = None,
        clamp_max: float | None = None,
        *,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
    ) -> None:
        super().__init__("reward" if in_keys is None else in_keys, out_keys)
        self.clamp_min = as_bound("RewardClipping", "clamp_min", clamp_min)
        self.clamp_max = as_bound("RewardClipping", "clamp_max", clamp_max)
        check_bounds("RewardClipping", ("clamp_min", "clamp_max"), self.clamp_min, self.clamp_max)

    def _apply_transform(self, value: Tensor) -> Tensor:
        return clamp(value, self.clamp_min, self.clamp_max)

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        return clamped_spec(spec, self.clamp_min, self.clamp_max)

    def __repr__(self) -> str:
        return f"RewardClipping(clamp_min={self.clamp_min}, clamp_max={self.clamp_max}, keys={self.in_keys})"
