"""Entries of one dtype made another."""

from typing import ClassVar, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._leaf_specs import cast_entries, cast_spec, inner_cast_spec
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import Composite, LeafSpec, NestedKey, TensorSpec, message


@final
class DTypeCastTransform(Transform):
    """Casts entries from `dtype_in` to `dtype_out` on their way out, and actions from `dtype_out` to `dtype_in` on
    their way in.

    Without any key, in an environment: every observation, reward and action of `dtype_in`. Without any key and
    outside of one, every entry of a TensorDict that has it, at every level. Sums and counts that transforms before this
    one carry are left out where a few bits would not do for them.

    Args:
        dtype_in: dtype inside of the environment.
        dtype_out: dtype outside.
        in_keys: entries to cast to `dtype_out`.
        out_keys: names of the results; `in_keys` when left out.
        in_keys_inv: inner entries (actions) that the environment wants in `dtype_in`.
        out_keys_inv: their names outside; `in_keys_inv` when left out.
    Raises:
        ValueError: out keys are given without in keys.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        dtype_in: torch.dtype,
        dtype_out: torch.dtype,
        *,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
        in_keys_inv: Keys | NestedKey | None = None,
        out_keys_inv: Keys | NestedKey | None = None,
    ) -> None:
        self._finds_keys = in_keys is None and in_keys_inv is None
        if self._finds_keys and not (out_keys is None and out_keys_inv is None):
            problem, fix = "out keys without in keys", "Give in_keys for out_keys, in_keys_inv for out_keys_inv"
            raise ValueError(message("DTypeCastTransform", problem, fix=fix))
        super().__init__(in_keys, out_keys, in_keys_inv=in_keys_inv, out_keys_inv=out_keys_inv)
        self._is_bound = False
        self.dtype_in = dtype_in
        self.dtype_out = dtype_out

    def _bind(self, specs: EnvSpecs) -> list[str]:
        self._is_bound = True
        if self._finds_keys:
            others = {key for key in self._left_alone(specs) if not self._spares(key, is_number=key not in specs.state)}
            found = [*self._those(specs.observation), *self._those(specs.reward)]
            self._set_keys([key for key in found if key not in others], None)
            self._set_keys_inv(self._those(specs.action), None)
        return self._check_wiring(specs)

    def _spares(self, key: NestedKey, *, is_number: bool) -> bool:
        """Sums and counts go on where they are not cut off, rounded to a few digits, or wrapped around."""
        is_exact = self.dtype_out.is_floating_point or not self.dtype_in.is_floating_point
        return is_number and is_exact and self.dtype_out.itemsize >= 4

    def _those(self, spec: Composite) -> list[NestedKey]:
        """Entries of `dtype_in`."""
        leaves = spec.flat_items()
        return [key for key, leaf in leaves if isinstance(leaf, LeafSpec) and leaf.dtype == self.dtype_in]

    def _apply_transform(self, value: Tensor) -> Tensor:
        return value.to(self.dtype_out)

    def _inv_apply_transform(self, value: Tensor) -> Tensor:
        return value.to(self.dtype_in)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Cast the entries; without keys, and in no environment, every one of `dtype_in`. Returns that TensorDict."""
        if not self._finds_keys or self._is_bound:
            return super().forward(tensordict)
        return cast_entries(tensordict, self.dtype_in, self.dtype_out)

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        return cast_spec(spec, self.dtype_out)

    def _leaf_spec_inv(self, spec: TensorSpec) -> TensorSpec:
        return inner_cast_spec(spec, self.dtype_out)

    def __repr__(self) -> str:
        keys = f"in_keys={self.in_keys}, in_keys_inv={self.in_keys_inv}"
        return f"DTypeCastTransform({self.dtype_in} -> {self.dtype_out}, {keys})"
