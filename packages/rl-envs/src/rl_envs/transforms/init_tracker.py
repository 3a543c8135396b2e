"""A flag on the first step of each episode."""

from dataclasses import replace
from typing import ClassVar, final

import torch
from tensordict import TensorDictBase

from rl_envs._env_plan import flag_groups
from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import beside_key, no_forward
from rl_envs.transforms.transform import Transform
from rl_specs import Categorical, Composite, NestedKey, TensorMap, TensorSpec, canonical_key, key_str


@final
class InitTracker(Transform):
    """Writes a bool `[*B, 1]`: True after a reset, False after a step. Recurrent modules read it.

    A name stands for flags beside each `done` flag of the environment, those of agents too, in their shapes.

    Args:
        init_key: name of the flag; a nested key is that one entry, beside one `done`.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(self, init_key: NestedKey = "is_init") -> None:
        super().__init__()
        self.init_key = canonical_key(init_key)
        self._forms: dict[NestedKey, TensorSpec] = {}

    def _bind(self, specs: EnvSpecs) -> list[str]:
        flags = dict(specs.done.flat_items())
        done_keys = [group[0] for group in flag_groups(list(flags))]
        if not isinstance(self.init_key, str) or not done_keys:
            done_keys = [beside_key(self.init_key, "done")]
        absent = [key for key in done_keys if key not in flags]
        if absent:
            names = ", ".join(key_str(key) for key in flags)
            return [f"init_key: no flag {key_str(absent[0])} beside it (has: {names})"]
        name = self.init_key if isinstance(self.init_key, str) else self.init_key[-1]
        self._forms = {beside_key(key, name): flags[key] for key in done_keys}
        return []

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        for key, form in self._forms.items():
            next_data[key] = torch.zeros(form.shape, dtype=torch.bool, device=form.device)
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        for key, form in self._forms.items():
            reset_data[key] = torch.ones(form.shape, dtype=torch.bool, device=form.device)
        return reset_data

    def _writes(self) -> list[NestedKey]:
        return list(self._forms)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: only an environment knows when an episode starts."""
        raise no_forward("InitTracker")

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds the flags."""
        for key, form in self._forms.items():
            observation_spec[key] = Categorical(2, shape=form.shape, device=form.device, dtype=torch.bool)
        return observation_spec

    def _transform_specs(self, specs: EnvSpecs) -> EnvSpecs:
        outer = super()._transform_specs(specs)
        return replace(outer, first_flags=(*outer.first_flags, *self._forms))

    def __repr__(self) -> str:
        return f"InitTracker(init_key={self.init_key!r})"
