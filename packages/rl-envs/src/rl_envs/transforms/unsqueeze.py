"""Entries with a dimension more."""

from typing import final

from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._feature_map import FeatureMap, axis, checked_dim, dims_needed, short_rows
from rl_envs.transforms.transform import Keys
from rl_specs import NestedKey, TensorSpec


@final
class UnsqueezeTransform(FeatureMap):
    """Adds a dimension of size 1; takes it off entries on their way in.

    Args:
        dim: where the dimension is in the result, counted from the end.
        in_keys: entries that get it.
        allow_positive_dim: take a `dim` that is not negative, counted from the first dimension after the batch.
        out_keys: names of the results; `in_keys` when left out.
        in_keys_inv: inner entries (actions), without the dimension.
        out_keys_inv: their names outside, with it; `in_keys_inv` when left out.
    Raises:
        ValueError: `dim` is not negative, without `allow_positive_dim`.
    """

    def __init__(
        self,
        dim: int,
        in_keys: Keys | NestedKey | None = None,
        *,
        allow_positive_dim: bool = False,
        out_keys: Keys | NestedKey | None = None,
        in_keys_inv: Keys | NestedKey | None = None,
        out_keys_inv: Keys | NestedKey | None = None,
    ) -> None:
        super().__init__(in_keys, out_keys, in_keys_inv=in_keys_inv, out_keys_inv=out_keys_inv)
        self.dim = checked_dim("UnsqueezeTransform", "dim", dim, allow_positive_dim)

    def _bind(self, specs: EnvSpecs) -> list[str]:
        return super()._bind(specs) + short_rows(self, specs, dims_needed(self.dim, adds=1))

    def _map(self, value: Tensor, batch_dims: int) -> Tensor:
        return value.unsqueeze(axis(self.dim, batch_dims))

    def _inv_map(self, value: Tensor, batch_dims: int) -> Tensor:
        return value.squeeze(axis(self.dim, batch_dims))

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        return self._moved_spec(spec, lambda each: each.unsqueeze(axis(self.dim, self._batch_dims)))

    def _leaf_spec_inv(self, spec: TensorSpec) -> TensorSpec:
        return self._moved_spec(spec, lambda each: each.unsqueeze(axis(self.dim, self._batch_dims)))

    def __repr__(self) -> str:
        return f"UnsqueezeTransform(dim={self.dim}, keys={self.in_keys})"
