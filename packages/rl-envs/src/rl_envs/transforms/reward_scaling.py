"""Rewards on another scale."""

from collections.abc import Sequence
from typing import ClassVar, final

from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._affine import affine, as_parameter, check_divisor, follow_entries
from rl_envs.transforms._leaf_specs import monotone_image
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import NestedKey, TensorSpec


@final
class RewardScaling(Transform):
    """Affine map of rewards.

        reward * scale + loc            by default
        (reward - loc) / scale          with standard_normal=True

    Args:
        loc: shift, broadcasts to the reward.
        scale: factor, broadcasts to the reward.
        in_keys: rewards to map, default `"reward"`.
        out_keys: names of the results; `in_keys` when left out.
        standard_normal: which of the two maps.
    Raises:
        ValueError: `scale` is zero, with `standard_normal`.
    """

    accepts_mapping: ClassVar[bool] = True
    loc: Tensor
    scale: Tensor

    def __init__(
        self,
        loc: float | Sequence[float] | Tensor,
        scale: float | Sequence[float] | Tensor,
        *,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
        standard_normal: bool = False,
    ) -> None:
        super().__init__("reward" if in_keys is None else in_keys, out_keys)
        self.standard_normal = standard_normal
        self.register_buffer("loc", as_parameter(loc))
        self.register_buffer("scale", as_parameter(scale))
        check_divisor("RewardScaling", self.scale, divides=standard_normal)

    def _bind(self, specs: EnvSpecs) -> list[str]:
        follow_entries(self, self.in_keys, specs.reward, specs.observation)
        return self._check_wiring(specs)

    def _apply_transform(self, value: Tensor) -> Tensor:
        return affine(value, self.loc, self.scale, standard_normal=self.standard_normal)

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        return monotone_image(self._apply_transform, spec)

    def __repr__(self) -> str:
        values = (
            "" if self.loc.numel() > 1 or self.scale.numel() > 1 else f"loc={self.loc:.4f}, scale={self.scale:.4f}, "
        )
        return f"RewardScaling({values}keys={self.in_keys})"
