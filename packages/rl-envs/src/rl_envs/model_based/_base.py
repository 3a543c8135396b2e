"""The base of environments whose steps a module predicts."""

from collections.abc import Sequence

import torch
from tensordict.nn import TensorDictModuleBase

from rl_envs._env_base import EnvBase
from rl_envs._env_plan import flag_groups
from rl_envs._env_specs import EnvSpecs
from rl_envs._flat import unpack_flat
from rl_envs._policy_plan import PolicyPlan, plan_policy
from rl_specs import FlatDict, NestedKey, TensorMap, canonical_key, canonical_keys, join_key, message, missing_key


class ModelBasedEnvBase(EnvBase):
    """An environment whose steps a world model predicts.

    An author sets the specs in `__init__` (the state that the model reads belongs into `state_spec` and, as it is
    returned too, into `observation_spec`) and writes `_reset`. The environment keeps nothing from step to step, so that
    it takes data of any batch size (`batch_locked` is False), and it is differentiable where the model is.

    Args:
        world_model: module from TensorDict to TensorDict that reads actions and state, and writes every observation and
            reward, under their names or under `"next"`. Flags that it does not write are False.
        device: device of the tensors; the model is moved there by `to` alone.
        batch_size: batch shape of the specs.
    Raises:
        TypeError: `world_model` is a module that knows no keys.
        MissingKeyError: at the first step, where it reads or writes other entries than the environment has.
    """

    batch_locked = False

    def __init__(
        self,
        world_model: TensorDictModuleBase,
        *,
        device: torch.device | str | int | None = None,
        batch_size: Sequence[int] | None = None,
    ) -> None:
        super().__init__(device=device, batch_size=() if batch_size is None else batch_size)
        self._world_model = self._checked_model(world_model)
        self._wired: tuple[EnvSpecs, torch.Size, PolicyPlan, list[tuple[NestedKey, NestedKey]]] | None = None

    @property
    def world_model(self) -> TensorDictModuleBase:
        """The model; another one takes effect from the next step on."""
        return self._world_model

    @world_model.setter
    def world_model(self, world_model: TensorDictModuleBase) -> None:
        self._world_model = self._checked_model(world_model)
        self._wired = None

    def _checked_model(self, world_model: object) -> TensorDictModuleBase:
        if isinstance(world_model, TensorDictModuleBase):
            return world_model
        expected, found = "a module with in_keys and out_keys", type(world_model).__name__
        fix = "Wrap it: TensorDictModule(model, in_keys=[...], out_keys=[...])"
        raise TypeError(message(self._name, "world_model knows no keys", expected=expected, found=found, fix=fix))

    def _step(self, data: TensorMap) -> FlatDict:
        wired = self._wired
        if wired is None or wired[0] is not self._specs or wired[1] != self._batch_size:
            wired = self._wired = self._wire()
        _, _, predict, outputs = wired
        entries = dict(unpack_flat(data))
        predict(entries)
        following = {name: entries[written] for name, written in outputs}
        for group in flag_groups([canonical_key(key) for key in self.done_keys]):
            if all(key not in following for key in group):
                following[group[0]] = self.full_done_spec[group[0]].zero()
        return following

    def _wire(self) -> tuple[EnvSpecs, torch.Size, PolicyPlan, list[tuple[NestedKey, NestedKey]]]:
        """The model as a plan, and the entries of a step beside the names under which it writes them."""
        specs = self._specs
        written = canonical_keys(self.world_model.out_keys)
        outputs: list[tuple[NestedKey, NestedKey]] = []
        for composite, is_needed in ((specs.observation, True), (specs.reward, True), (specs.done, False)):
            for key, _ in composite.flat_items():
                names = [name for name in (join_key("next", key), key) if name in written]
                if names:
                    outputs.append((key, names[0]))
                elif is_needed:
                    fix = "Add a module that writes it to the world model, or take it out of the specs"
                    raise missing_key(f"{self._name}: what world_model writes", key, written, fix=fix)
        role = f"{self._name}.world_model"
        plan = plan_policy(self.world_model, batch_size=self._batch_size, device=self._device, role=role)
        return specs, self._batch_size, plan, outputs

    def _set_seed(self, seed: int) -> None:
        """Nothing to seed: what a model draws comes from torch's global generator."""

    def _to(self, device: torch.device) -> None:
        self.world_model.to(device)
        self._wired = None
