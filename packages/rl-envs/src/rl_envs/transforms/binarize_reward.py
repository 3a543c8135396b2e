"""Rewards as zeros and ones."""

from typing import ClassVar, final

import torch
from torch import Tensor

from rl_envs.transforms.transform import Keys, Transform
from rl_specs import Binary, LeafSpec, NestedKey, TensorSpec


@final
class BinarizeReward(Transform):
    """Maps a reward of zero to 0 and every other one, of whatever sign, to 1.

    Args:
        in_keys: rewards to map, default `"reward"`.
        out_keys: names of the results; `in_keys` when left out.
        dtype: dtype of the result; None: that of the reward, so that sums of it do not overflow.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__("reward" if in_keys is None else in_keys, out_keys)
        self.dtype = dtype

    def _apply_transform(self, value: Tensor) -> Tensor:
        return value.ne(0).to(value.dtype if self.dtype is None else self.dtype)

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        assert isinstance(spec, LeafSpec)
        return Binary(shape=spec.shape, device=spec.device, dtype=spec.dtype if self.dtype is None else self.dtype)
