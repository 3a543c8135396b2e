"""Environments that start the next episode by themselves."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import no_forward
from rl_envs.transforms._own_resets import KeptStarts, OwnResets
from rl_envs.transforms._row_masks import beside, done_rows, end_keys
from rl_envs.transforms._wiring import leaf_keys
from rl_envs.transforms.transform import ResetCall, StepCall, Transform
from rl_specs import Composite, FlatDict, LeafSpec, NestedKey, TensorMap, Unbounded

if TYPE_CHECKING:
    from rl_envs.transforms.transformed_env import TransformedEnv


@final
class AutoResetTransform(Transform):
    """Takes the first observation of the next episode out of the step that ends one, and gives it at the reset.

    For an environment that resets itself, and returns, with `done`, not the last observation of the episode but the
    first one of the next. That one is kept; the last one, which is lost, is replaced by a fill value. A reset of rows
    that are done gives what is kept, and does not touch the environment; `env.reset()` of everything does. What is kept
    is part of `state_dict`. Put it first. (`GymWrapper` knows what its vector environments do, and needs none of this.)

    Args:
        replace: fill the lost observations; False leaves the first one of the next episode there. Default True.
        fill_float: what lost floating-point observations are filled with, `"nan"` or a number.
        fill_int: the same for integers, in their dtype.
        fill_bool: the same for bools.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        *,
        replace: bool | None = None,
        fill_float: float | str = "nan",
        fill_int: int = -1,
        fill_bool: bool = False,
    ) -> None:
        super().__init__()
        self.replace = True if replace is None else replace
        self.fill_float = float(fill_float)
        self.fill_int = fill_int
        self.fill_bool = fill_bool
        self._kept = KeptStarts("AutoResetTransform")
        self._fills: dict[NestedKey, Tensor] = {}
        self._observed: list[NestedKey] = []
        self._done_keys: list[NestedKey] = []
        self._dims = 0

    def _bind(self, specs: EnvSpecs) -> list[str]:
        leaves = specs.observation.flat_items()
        self._observed = [key for key, _ in leaves]
        self._fills = {key: self._fill(leaf) for key, leaf in leaves if isinstance(leaf, LeafSpec)}
        self._done_keys = end_keys(leaf_keys(specs.done))
        self._dims = len(specs.done.shape)
        return []

    def _fill(self, leaf: LeafSpec) -> Tensor:
        if leaf.dtype is torch.bool:
            value: float = self.fill_bool
        else:
            value = self.fill_float if leaf.dtype.is_floating_point else self.fill_int
        return torch.tensor(value).to(dtype=leaf.dtype, device=leaf.device)

    def _wrap(self, env: "TransformedEnv") -> tuple[StepCall, ResetCall]:
        return env._step, OwnResets(env, self._kept)

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        rows = done_rows(next_data, self._done_keys, self._dims)
        if rows.device.type == "cpu" and not bool(rows.any()):
            self._kept.forget()
            return next_data
        starts: FlatDict = {key: next_data[key] for key in self._observed}
        self._kept.keep(starts, rows)
        if self.replace:
            for key, value in starts.items():
                next_data[key] = torch.where(beside(rows, value), self._fills[key], value)
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return reset_data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: only an environment resets itself."""
        raise no_forward("AutoResetTransform")

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Any values, where lost observations are filled."""
        if self.replace:
            for key, leaf in observation_spec.flat_items():
                if isinstance(leaf, LeafSpec):
                    observation_spec[key] = Unbounded(leaf.shape, leaf.device, leaf.dtype)
        return observation_spec

    def _transform_specs(self, specs: EnvSpecs) -> EnvSpecs:
        outer = super()._transform_specs(specs)
        return replace(outer, loses_ends=outer.loses_ends or self.replace)

    def set_seed(self, seed: int) -> None:
        """Forget what is kept: what comes next is of the seed."""
        self._kept.forget()

    def get_extra_state(self) -> dict[str, Any]:
        """First observations that are kept."""
        return self._kept.state()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self._kept.load(state)

    def __repr__(self) -> str:
        return f"AutoResetTransform(replace={self.replace})"
