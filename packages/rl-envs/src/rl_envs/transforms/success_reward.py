"""A reward for success alone."""

from typing import ClassVar, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._wiring import absent_keys, leaf_keys
from rl_envs.transforms.transform import Transform
from rl_specs import Bounded, Composite, LeafSpec, NestedKey, TensorMap, canonical_key, key_str


@final
class SuccessReward(Transform):
    """Writes `scale` as the reward where a step has succeeded, and 0 elsewhere.

    An environment's reward of that name is replaced. Nothing is written at a reset. `forward` writes the reward beside
    the signal in stored data; with `success_key=("next", "success")`, give `reward_key=("next", "reward")`.

    Args:
        success_key: bool, or numbers that are zero where there is no success.
        reward_key: the reward, float32 and of the shape of the signal.
        scale: reward of a success.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self, success_key: NestedKey = "success", reward_key: NestedKey = "reward", *, scale: float = 1.0
    ) -> None:
        super().__init__([success_key], [reward_key])
        self.success_key = canonical_key(success_key)
        self.reward_key = canonical_key(reward_key)
        self.scale = scale
        self._form: tuple[torch.Size, torch.device | None] = torch.Size(()), None

    def _bind(self, specs: EnvSpecs) -> list[str]:
        written = [*leaf_keys(specs.observation), *leaf_keys(specs.done)]
        problems = absent_keys([self.success_key], written, "success_key", "the environment writes")
        if self.reward_key in leaf_keys(specs.observation):
            problems.append(f"reward_key: {key_str(self.reward_key)} is an observation, not a reward")
        leaves = {**dict(specs.done.flat_items()), **dict(specs.observation.flat_items())}
        leaf = leaves.get(self.success_key)
        if isinstance(leaf, LeafSpec):
            self._form = leaf.shape, leaf.device
        return problems

    def _apply_transform(self, value: Tensor) -> Tensor:
        return value.bool().to(torch.float32) * self.scale

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return reset_data

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        return self._map_entries(next_data, self._pairs)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write the reward into stored data; returns the TensorDict."""
        self._map_entries(tensordict, self._pairs)
        return tensordict

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Unchanged."""
        return observation_spec

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """The reward: 0 to `scale`."""
        shape, device = self._form
        low, high = min(0.0, self.scale), max(0.0, self.scale)
        reward_spec[self.reward_key] = Bounded(low, high, shape=shape, dtype=torch.float32, device=device)
        return reward_spec

    def __repr__(self) -> str:
        return f"SuccessReward({self.success_key!r}, {self.reward_key!r}, scale={self.scale})"
