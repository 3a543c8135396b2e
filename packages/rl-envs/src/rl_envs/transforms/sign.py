"""Signs of entries."""

from typing import ClassVar, final

import torch
from torch import Tensor

from rl_envs.transforms._leaf_specs import monotone_image
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import Bounded, LeafSpec, NestedKey, TensorSpec


@final
class SignTransform(Transform):
    """Replaces numbers by their signs, -1, 0 or 1, in their dtype.

    Args:
        in_keys: entries whose signs to write.
        out_keys: names of the results; `in_keys` when left out.
        in_keys_inv: inner entries (actions) that the environment gets as signs.
        out_keys_inv: their names outside, where they have the inner specs; `in_keys_inv` when left out.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
        *,
        in_keys_inv: Keys | NestedKey | None = None,
        out_keys_inv: Keys | NestedKey | None = None,
    ) -> None:
        super().__init__(in_keys, out_keys, in_keys_inv=in_keys_inv, out_keys_inv=out_keys_inv)

    def _apply_transform(self, value: Tensor) -> Tensor:
        return torch.sign(value)

    def _inv_apply_transform(self, value: Tensor) -> Tensor:
        return torch.sign(value)

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        if isinstance(spec, Bounded):
            return monotone_image(torch.sign, spec)
        assert isinstance(spec, LeafSpec)
        low = -1 if spec.dtype.is_signed else 0
        return Bounded(low, 1, shape=spec.shape, dtype=spec.dtype, device=spec.device)
