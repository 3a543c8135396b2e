"""Data on another device than the environment."""

from typing import ClassVar, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_plan import RESET_KEY, STEP_KEY
from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import Composite, NestedKey, TensorMap, TensorSpec, key_str, message, resolve_device


@final
class DeviceCastTransform(Transform):
    """Moves what the environment returns to `device`, and what it reads back to its own device.

    Without any key everything is moved, and `env.device` is `device`. Otherwise the entries named are, and
    `env.device` is
    None: undeclared. Transforms before this one work on the environment's device, those after it on the other.

    Args:
        device: device outside.
        orig_device: device inside; default that of the environment.
        in_keys: entries to move out.
        out_keys: names of the results; `in_keys` when left out.
        in_keys_inv: inner entries (actions) to move in.
        out_keys_inv: their names outside; `in_keys_inv` when left out.
    Raises:
        ValueError: out keys are given without in keys.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        device: torch.device | str | int,
        orig_device: torch.device | str | int | None = None,
        *,
        in_keys: Keys | NestedKey | None = None,
        out_keys: Keys | NestedKey | None = None,
        in_keys_inv: Keys | NestedKey | None = None,
        out_keys_inv: Keys | NestedKey | None = None,
    ) -> None:
        self._finds_keys = in_keys is None and in_keys_inv is None
        if self._finds_keys and not (out_keys is None and out_keys_inv is None):
            problem, fix = "out keys without in keys", "Give in_keys for out_keys, in_keys_inv for out_keys_inv"
            raise ValueError(message("DeviceCastTransform", problem, fix=fix))
        super().__init__(in_keys, out_keys, in_keys_inv=in_keys_inv, out_keys_inv=out_keys_inv)
        self.device = resolve_device(device)
        self.orig_device = None if orig_device is None else resolve_device(orig_device)
        self._inner_device = self.orig_device
        self._read_back: list[NestedKey] = []

    # ------------------------------------------------------------------ wiring

    def _bind(self, specs: EnvSpecs) -> list[str]:
        leaves = [leaf for spec in (specs.action, specs.observation, specs.done) for _, leaf in spec.flat_items()]
        found = next((leaf.device for leaf in leaves if leaf.device is not None), torch.device("cpu"))
        self._inner_device = found if self.orig_device is None else self.orig_device
        if self._finds_keys:
            outputs, inputs = (specs.observation, specs.reward, specs.done), (specs.action, specs.state)
            self._set_keys([key for spec in outputs for key, _ in spec.flat_items()], None)
            self._set_keys_inv([key for spec in inputs for key, _ in spec.flat_items()], None)
        given = {outer for _, outer in self._inv_pairs}
        self._read_back = [key for key in self._carried_before if key in self.out_keys and key not in given]
        problems = self._check_wiring(specs, reads_root=False)
        if found != self._inner_device:
            problems.append(f"orig_device: the environment is on {found}, not on {self._inner_device}")
        return problems

    def _spares(self, key: NestedKey, *, is_number: bool) -> bool:
        return True  # moved back before it is read

    def _env_device(self, device: torch.device | None) -> torch.device | None:
        return self.device if self._finds_keys else None

    # ------------------------------------------------------------------ data

    def _apply_transform(self, value: Tensor) -> Tensor:
        return value.to(self.device)

    def _inv_apply_transform(self, value: Tensor) -> Tensor:
        return value.to(self._inner_device)

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        return self._moved_out(next_data, is_complete=True)

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return self._moved_out(reset_data, is_complete=False)

    def _moved_out(self, data: TensorMap, *, is_complete: bool) -> TensorMap:
        """`data` with its entries moved; a reset returns no rewards, and flags where it likes."""
        _undeclare(data)
        for in_key, out_key in self._pairs:
            value = data.get(in_key, None)
            if value is not None:
                data[out_key] = self._apply_transform(value)
            elif is_complete:
                raise self._missing(in_key, data)
        return data

    def _inv_call(self, data: TensorMap) -> TensorMap:
        _undeclare(data)
        super()._inv_call(data)
        for key in self._read_back:
            data[key] = self._inv_apply_transform(data[key])
        stepped = data.get(STEP_KEY, None)
        if stepped is not None:
            data[STEP_KEY] = self._inv_apply_transform(stepped)
        return data

    def _before_reset(self, data: TensorMap | None) -> TensorMap | None:
        if data is None:
            return None
        _undeclare(data)
        for key in (RESET_KEY, *self._read_back, *self.in_keys_inv):
            value = data.get(key, None)
            if value is not None:
                data[key] = self._inv_apply_transform(value)
        return data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Move stored data: the entries named, or without keys a whole TensorDict, to `device`.

        Returns:
            That TensorDict, or another one where the whole of it is moved.
        """
        if self._finds_keys:
            moved: TensorDictBase = tensordict.to(self.device)
            return moved
        return super().forward(tensordict)

    # ------------------------------------------------------------------ specs

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """On `device`."""
        return self._moved_spec(observation_spec)

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """On `device`."""
        return self._moved_spec(reward_spec)

    def transform_done_spec(self, done_spec: Composite) -> Composite:
        """On `device`."""
        return self._moved_spec(done_spec)

    def transform_action_spec(self, action_spec: Composite) -> Composite:
        """On `device`, outside."""
        return self._map_spec_inv(_undeclared(action_spec)) if not self._finds_keys else action_spec.to(self.device)

    def transform_state_spec(self, state_spec: Composite) -> Composite:
        """On `device`, outside."""
        return self._map_spec_inv(_undeclared(state_spec)) if not self._finds_keys else state_spec.to(self.device)

    def _moved_spec(self, spec: Composite) -> Composite:
        return spec.to(self.device) if self._finds_keys else self._map_spec(_undeclared(spec))

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        return spec.to(self.device)

    def _leaf_spec_inv(self, spec: TensorSpec) -> TensorSpec:
        return spec.to(self.device)

    def __repr__(self) -> str:
        keys = "all" if self._finds_keys else f"[{', '.join(key_str(key) for key in self.in_keys)}]"
        return f"DeviceCastTransform(device={self.device}, orig_device={self._inner_device}, keys={keys})"


def _undeclare(data: TensorMap) -> None:
    """Let a TensorDict hold entries of several devices."""
    if isinstance(data, TensorDictBase):
        data.clear_device_()


def _undeclared(spec: Composite) -> Composite:
    """`spec` for entries of several devices."""
    return Composite(dict(spec.flat_items()), shape=spec.shape)
