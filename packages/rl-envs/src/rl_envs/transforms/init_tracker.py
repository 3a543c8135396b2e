"""A flag on the first step of each episode."""

from dataclasses import replace
from typing import ClassVar, final

import torch
from tensordict import TensorDictBase

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import no_forward
from rl_envs.transforms.transform import Transform
from rl_specs import Categorical, Composite, NestedKey, TensorMap, canonical_key, key_str


@final
class InitTracker(Transform):
    """Writes a bool `[*B, 1]`: True after a reset, False after a step. Recurrent modules read it.

    Args:
        init_key: name of the flag; nested, it has the shape of the `done` flag of its level.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(self, init_key: NestedKey = "is_init") -> None:
        super().__init__()
        self.init_key = canonical_key(init_key)
        path = (self.init_key,) if isinstance(self.init_key, str) else self.init_key
        self._done_key = canonical_key((*path[:-1], "done"))
        self._shape = torch.Size((1,))
        self._device: torch.device | None = None

    def _bind(self, specs: EnvSpecs) -> list[str]:
        flags = dict(specs.done.flat_items())
        if self._done_key not in flags:
            names = ", ".join(key_str(key) for key in flags)
            return [f"init_key: no flag {key_str(self._done_key)} beside it (has: {names})"]
        self._shape, self._device = flags[self._done_key].shape, flags[self._done_key].device
        return []

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        next_data[self.init_key] = torch.zeros(self._shape, dtype=torch.bool, device=self._device)
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        reset_data[self.init_key] = torch.ones(self._shape, dtype=torch.bool, device=self._device)
        return reset_data

    def _writes(self) -> list[NestedKey]:
        return [self.init_key]

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: only an environment knows when an episode starts."""
        raise no_forward("InitTracker")

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds the flag."""
        observation_spec[self.init_key] = Categorical(2, shape=self._shape, device=self._device, dtype=torch.bool)
        return observation_spec

    def _transform_specs(self, specs: EnvSpecs) -> EnvSpecs:
        outer = super()._transform_specs(specs)
        return replace(outer, first_flags=(*outer.first_flags, self.init_key))

    def __repr__(self) -> str:
        return f"InitTracker(init_key={self.init_key!r})"
