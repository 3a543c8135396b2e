"""Double precision outside the environment made single."""

from typing import ClassVar, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._leaf_specs import cast_entries, inner_cast_spec
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import Composite, LeafSpec, NestedKey, TensorSpec


@final
class DoubleToFloat(Transform):
    """Casts entries to float32 on their way out, and actions to float64 on their way in.

    Without any key, in an environment: every float64 observation and reward, and every float64 action. Without any key
    and outside of one, every float64 entry of a TensorDict, at every level.

    Args:
        in_keys: entries to cast to float32.
        out_keys: names of the results; `in_keys` when left out.
        in_keys_inv: inner entries (actions) that the environment wants in float64.
        out_keys_inv: their names outside; `in_keys_inv` when left out.
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
        self._finds_keys = in_keys is None and in_keys_inv is None
        self._is_bound = False

    def _bind(self, specs: EnvSpecs) -> list[str]:
        self._is_bound = True
        if self._finds_keys:
            states = {key for key, _ in specs.state.flat_items()}
            found = [key for key in (*_doubles(specs.observation), *_doubles(specs.reward)) if key not in states]
            self._set_keys(found, None)
            self._set_keys_inv(_doubles(specs.action), None)
        return self._check_wiring(specs)

    def _spares(self, key: NestedKey, *, is_number: bool) -> bool:
        return is_number

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Cast the entries; without keys, and in no environment, every float64 one. Returns that TensorDict."""
        if not self._finds_keys or self._is_bound:
            return super().forward(tensordict)
        return cast_entries(tensordict, torch.float64, torch.float32)

    def _apply_transform(self, value: Tensor) -> Tensor:
        return value.float()

    def _inv_apply_transform(self, value: Tensor) -> Tensor:
        return value.double()

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        return spec.to(torch.float32)

    def _leaf_spec_inv(self, spec: TensorSpec) -> TensorSpec:
        return inner_cast_spec(spec, torch.float32)

    def __repr__(self) -> str:
        keys = f"in_keys={self.in_keys}, out_keys={self.out_keys}"
        return f"DoubleToFloat({keys}, in_keys_inv={self.in_keys_inv}, out_keys_inv={self.out_keys_inv})"


def _doubles(spec: Composite) -> list[NestedKey]:
    return [key for key, leaf in spec.flat_items() if isinstance(leaf, LeafSpec) and leaf.dtype == torch.float64]
