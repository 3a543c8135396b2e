"""Dimensions of an observation made one."""

from typing import final

import torch
from torch import Size, Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._feature_map import FeatureMap, axis, checked_dim, dims_needed, short_rows
from rl_envs.transforms.transform import Keys
from rl_specs import NestedKey, TensorSpec, key_str, message


@final
class FlattenObservation(FeatureMap):
    """Makes neighbouring dimensions one; splits that one again in entries on their way in.

    Args:
        first_dim: first dimension of them, counted from the end.
        last_dim: last dimension of them, counted from the end.
        in_keys: entries to flatten, default `"pixels"`.
        out_keys: names of the results; `in_keys` when left out.
        in_keys_inv: inner entries (states) with all their dimensions. They are split to the sizes that the
            environment's specs have.
        out_keys_inv: their names outside, flat; `in_keys_inv` when left out.
        allow_positive_dim: take dimensions that are not negative, counted from the first one after the batch.
    Raises:
        ValueError: a dimension is not negative, without `allow_positive_dim`, or both are counted from the same side
            and in the wrong order.
    """

    def __init__(
        self,
        first_dim: int,
        last_dim: int,
        *,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
        in_keys_inv: Keys | NestedKey | None = None,
        out_keys_inv: Keys | NestedKey | None = None,
        allow_positive_dim: bool = False,
    ) -> None:
        takes_pixels = in_keys is None and in_keys_inv is None
        super().__init__(
            "pixels" if takes_pixels else in_keys, out_keys, in_keys_inv=in_keys_inv, out_keys_inv=out_keys_inv
        )
        self.first_dim = checked_dim("FlattenObservation", "first_dim", first_dim, allow_positive_dim)
        self.last_dim = checked_dim("FlattenObservation", "last_dim", last_dim, allow_positive_dim)
        if (first_dim < 0) == (last_dim < 0) and first_dim > last_dim:
            expected, found = "first_dim <= last_dim", f"first_dim={first_dim}, last_dim={last_dim}"
            raise ValueError(message("FlattenObservation", "dims in the wrong order", expected=expected, found=found))
        self._inner_sizes: dict[NestedKey, tuple[int, Size]] = {}

    def _map(self, value: Tensor, batch_dims: int) -> Tensor:
        return value.flatten(axis(self.first_dim, batch_dims), axis(self.last_dim, batch_dims))

    def _bind(self, specs: EnvSpecs) -> list[str]:
        problems = super()._bind(specs) + short_rows(self, specs, dims_needed(self.first_dim, self.last_dim))
        if problems:
            return problems
        inner = {**dict(specs.action.flat_items()), **dict(specs.state.flat_items())}
        for key in self.in_keys_inv:
            if key in inner:
                shape = inner[key].shape
                first, last = (axis(dim, self._batch_dims) % len(shape) for dim in (self.first_dim, self.last_dim))
                self._inner_sizes[key] = last - len(shape), shape[first : last + 1]
        return problems

    def _inv_map_of(self, inner: NestedKey, value: Tensor, batch_dims: int) -> Tensor:
        known = self._inner_sizes.get(inner)
        if known is None:
            problem = f"the sizes of {key_str(inner)} are not known"
            fix = "Append it to a TransformedEnv; a clone of it keeps them"
            raise RuntimeError(message("FlattenObservation", problem, fix=fix))
        at, sizes = known
        return torch.unflatten(value, at, sizes)

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        first, last = axis(self.first_dim, self._batch_dims), axis(self.last_dim, self._batch_dims)
        return self._moved_spec(spec, lambda each: each.flatten(first, last))

    def _leaf_spec_inv(self, spec: TensorSpec) -> TensorSpec:
        return self._leaf_spec(spec)

    def __repr__(self) -> str:
        dims = f"first_dim={self.first_dim}, last_dim={self.last_dim}"
        return f"FlattenObservation({dims}, keys={self.in_keys})"
