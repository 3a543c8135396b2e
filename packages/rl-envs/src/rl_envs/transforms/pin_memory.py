"""Entries in memory that an accelerator copies fast."""

from typing import ClassVar, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms.transform import Transform
from rl_specs import Composite, NestedKey


@final
class PinMemoryTransform(Transform):
    """Copies entries to pinned memory, from where `.to(device, non_blocking=True)` does not wait.

    In an environment that is every observation and reward, in `forward` every entry of a TensorDict. Entries that are
    on an accelerator or pinned stay as they are, and so do all where there is no CUDA device.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()

    def _bind(self, specs: EnvSpecs) -> list[str]:
        states = {key for key, _ in specs.state.flat_items()}
        keys = [key for spec in (specs.observation, specs.reward) for key, _ in spec.flat_items()]
        self._set_keys([key for key in keys if key not in states], None)
        return self._check_wiring(specs)

    def _spares(self, key: NestedKey, *, is_number: bool) -> bool:
        return True

    def _apply_transform(self, value: Tensor) -> Tensor:
        is_movable = isinstance(value, Tensor) and value.device.type == "cpu" and torch.cuda.is_available()
        return value.pin_memory() if is_movable and not value.is_pinned() else value

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Unchanged."""
        return observation_spec

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Unchanged."""
        return reward_spec

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Pin every entry of a TensorDict, at every level; returns that TensorDict."""
        for key in list(tensordict.keys(include_nested=True, leaves_only=True)):
            value = tensordict.get(key)
            if isinstance(value, Tensor):
                tensordict.set(key, self._apply_transform(value))
        return tensordict

    def __repr__(self) -> str:
        return "PinMemoryTransform()"
