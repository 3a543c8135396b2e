"""Vector environments that reset themselves and give the last observation of an episode on the side."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch
from tensordict import TensorDictBase

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import no_forward
from rl_envs.transforms._own_resets import KeptStarts, OwnResets
from rl_envs.transforms._row_masks import beside, done_rows, end_keys
from rl_envs.transforms._wiring import leaf_keys
from rl_envs.transforms.transform import ResetCall, StepCall, Transform
from rl_specs import Composite, FlatDict, LeafSpec, NestedKey, TensorMap, Unbounded, join_key, key_str

if TYPE_CHECKING:
    from rl_envs.transforms.transformed_env import TransformedEnv


@final
class VecGymEnvTransform(Transform):
    """Puts the last observation of an episode where it belongs, and gives the first one of the next at the reset.

    For an environment that resets a row in the step that ends its episode, returns the new observation, and the last
    one of the episode under `(final_name, *key)`, of meaning in the rows that are done. The two are swapped, the
    entries under `final_name` taken away; a reset of rows that are done gives what was kept, and does not touch the
    environment, `env.reset()` of everything does. What is kept is part of `state_dict`. Put it first. (`GymWrapper`
    does all this for the vector environments of Gymnasium.)

    Args:
        final_name: where the last observations are.
        missing_obs_value: what an observation without a last one is filled with where a row is done.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(self, final_name: str = "final", missing_obs_value: float = float("nan")) -> None:
        super().__init__()
        self.final_name = final_name
        self.missing_obs_value = missing_obs_value
        self._kept = KeptStarts("VecGymEnvTransform")
        self._finals: list[NestedKey] = []
        self._observed: list[NestedKey] = []
        self._done_keys: list[NestedKey] = []
        self._dims = 0

    def _bind(self, specs: EnvSpecs) -> list[str]:
        keys = leaf_keys(specs.observation)
        self._finals = [key for key in keys if isinstance(key, tuple) and key[0] == self.final_name]
        self._observed = [key for key in keys if key not in self._finals]
        self._done_keys = end_keys(leaf_keys(specs.done))
        self._dims = len(specs.done.shape)
        partners = {join_key(self.final_name, key) for key in self._observed}
        return [
            f"final_name: {key_str(key)} belongs to no observation of that name"
            for key in self._finals
            if key not in partners
        ]

    def _wrap(self, env: "TransformedEnv") -> tuple[StepCall, ResetCall]:
        return env._step, OwnResets(env, self._kept)

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        rows = done_rows(next_data, self._done_keys, self._dims)
        if rows.device.type == "cpu" and not bool(rows.any()):
            self._kept.forget()
            return self._without_finals(next_data)
        starts: FlatDict = {key: next_data[key] for key in self._observed}
        self._kept.keep(starts, rows)
        for key, value in starts.items():
            final = next_data.get(join_key(self.final_name, key), None)
            if final is None:
                final = torch.tensor(self.missing_obs_value).to(value.dtype).to(value.device)
            next_data[key] = torch.where(beside(rows, value), final, value)
        return self._without_finals(next_data)

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return self._without_finals(reset_data)

    def _without_finals(self, data: TensorMap) -> TensorMap:
        if isinstance(data, TensorDictBase):
            return data.exclude(self.final_name, inplace=True) if self._finals else data
        if isinstance(data, dict):
            for key in self._finals:
                data.pop(key, None)
        return data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: only an environment resets itself."""
        raise no_forward("VecGymEnvTransform")

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Without the last observations; any values where there is none."""
        if self.final_name in observation_spec:
            del observation_spec[self.final_name]
        for key, leaf in observation_spec.flat_items():
            if isinstance(leaf, LeafSpec) and join_key(self.final_name, key) not in self._finals:
                observation_spec[key] = Unbounded(leaf.shape, leaf.device, leaf.dtype)
        return observation_spec

    def _transform_specs(self, specs: EnvSpecs) -> EnvSpecs:
        outer = super()._transform_specs(specs)
        return replace(outer, loses_ends=outer.loses_ends or len(self._finals) < len(self._observed))

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
        return f"VecGymEnvTransform(final_name={self.final_name!r})"
