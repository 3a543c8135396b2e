"""Dimensions of entries in another order."""

from collections.abc import Sequence
from typing import final

from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._feature_map import FeatureMap, short_rows
from rl_envs.transforms._leaf_specs import monotone_image
from rl_envs.transforms.transform import Keys
from rl_specs import Bounded, NestedKey, ShapeError, SpecError, TensorSpec, Unbounded, message


@final
class PermuteTransform(FeatureMap):
    """Puts the last dimensions of entries in another order, and those of entries on their way in back.

    Args:
        dims: which dimension comes in each of the last `len(dims)` places, counted from the end: `[-1, -3, -2]` makes
            `[*B, H, W, C]` a `[*B, C, H, W]`.
        in_keys: entries to permute.
        out_keys: names of the results; `in_keys` when left out.
        in_keys_inv: inner entries (actions) in the order of the environment.
        out_keys_inv: their names outside, permuted; `in_keys_inv` when left out.
    Raises:
        ValueError: `dims` is no order of `-len(dims), ..., -1`.
        ShapeError: a row has fewer dimensions.
    """

    def __init__(
        self,
        dims: Sequence[int],
        in_keys: Keys | NestedKey | None = None,
        *,
        out_keys: Keys | NestedKey | None = None,
        in_keys_inv: Keys | NestedKey | None = None,
        out_keys_inv: Keys | NestedKey | None = None,
    ) -> None:
        super().__init__(in_keys, out_keys, in_keys_inv=in_keys_inv, out_keys_inv=out_keys_inv)
        self.dims = list(dims)
        count = len(self.dims)
        if sorted(self.dims) != list(range(-count, 0)):
            expected = f"each of {list(range(-count, 0))} once"
            raise ValueError(message("PermuteTransform", "bad dims", expected=expected, found=self.dims))
        self._back = [self.dims.index(dim) - count for dim in range(-count, 0)]

    def _bind(self, specs: EnvSpecs) -> list[str]:
        return super()._bind(specs) + short_rows(self, specs, len(self.dims))

    def _map(self, value: Tensor, batch_dims: int) -> Tensor:
        return _permuted(value, self.dims, batch_dims)

    def _inv_map(self, value: Tensor, batch_dims: int) -> Tensor:
        return _permuted(value, self._back, batch_dims)

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        return monotone_image(self._apply_transform, spec)

    def _leaf_spec_inv(self, spec: TensorSpec) -> TensorSpec:
        if not isinstance(spec, (Bounded, Unbounded)):
            expected = "Bounded or Unbounded"
            raise SpecError(message("PermuteTransform", "entry of another kind", expected=expected, found=spec))
        return monotone_image(self._apply_transform, spec)

    def __repr__(self) -> str:
        return f"PermuteTransform(dims={self.dims}, keys={self.in_keys})"


def _permuted(value: Tensor, dims: list[int], batch_dims: int) -> Tensor:
    """`value` with its last dimensions in the order `dims`, negative numbers; those of the batch are not among them."""
    ndim = value.ndim
    if ndim - batch_dims < len(dims):
        expected, found = f"{len(dims)} dimensions or more", tuple(value.shape[batch_dims:])
        raise ShapeError(message("PermuteTransform", "rows have too few dimensions", expected=expected, found=found))
    return value.permute(*range(ndim - len(dims)), *(ndim + dim for dim in dims))
