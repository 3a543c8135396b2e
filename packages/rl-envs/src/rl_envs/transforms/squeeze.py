"""Entries with a dimension less."""

from typing import final

from torch import Size, Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._feature_map import FeatureMap, axis, checked_dim, dims_needed, short_rows
from rl_envs.transforms.transform import Keys
from rl_specs import NestedKey, ShapeError, TensorSpec, message


@final
class SqueezeTransform(FeatureMap):
    """Takes a dimension of size 1 off entries; adds it to entries on their way in.

    Args:
        dim: where the dimension is, counted from the end.
        in_keys: entries that lose it.
        allow_positive_dim: take a `dim` that is not negative, counted from the first dimension after the batch.
        out_keys: names of the results; `in_keys` when left out.
        in_keys_inv: inner entries (actions), with the dimension.
        out_keys_inv: their names outside, without it; `in_keys_inv` when left out.
    Raises:
        ValueError: `dim` is not negative, without `allow_positive_dim`.
        ShapeError: the dimension has another size than 1.
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
        self.dim = checked_dim("SqueezeTransform", "dim", dim, allow_positive_dim)

    def _bind(self, specs: EnvSpecs) -> list[str]:
        return super()._bind(specs) + short_rows(self, specs, dims_needed(self.dim))

    def _map(self, value: Tensor, batch_dims: int) -> Tensor:
        return value.squeeze(self._axis(value.shape, batch_dims))

    def _inv_map(self, value: Tensor, batch_dims: int) -> Tensor:
        return value.unsqueeze(axis(self.dim, batch_dims))

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        return self._moved_spec(spec, lambda each: each.squeeze(self._axis(each.shape, self._batch_dims)))

    def _leaf_spec_inv(self, spec: TensorSpec) -> TensorSpec:
        return self._moved_spec(spec, lambda each: each.squeeze(self._axis(each.shape, self._batch_dims)))

    def _axis(self, shape: Size, batch_dims: int) -> int:
        """The dimension of an entry of this shape, which has size 1."""
        at = axis(self.dim, batch_dims)
        if -len(shape) <= at < len(shape) and shape[at] == 1:
            return at
        problem = f"dimension {self.dim} has another size than 1"
        raise ShapeError(message("SqueezeTransform", problem, expected="size 1", found=f"the shape {tuple(shape)}"))

    def __repr__(self) -> str:
        return f"SqueezeTransform(dim={self.dim}, keys={self.in_keys})"
