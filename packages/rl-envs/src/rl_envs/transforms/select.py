"""Entries kept, the others left out."""

from typing import ClassVar, final

from tensordict import TensorDictBase

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._selection import is_under, needed_problems, remove_entries, remove_specs
from rl_envs.transforms._wiring import leaf_keys
from rl_envs.transforms.transform import Transform
from rl_specs import Composite, NestedKey, TensorMap, canonical_keys


@final
class SelectTransform(Transform):
    """Keeps entries, or with the name of a level everything below it; names that are not there are passed over.

    In an environment it removes what resets and steps return besides, but for rewards and flags, and for what the
    environment reads back; actions are not touched. What an earlier transform carries from step to step (such as
    `episode_reward`) has to be among the entries kept. On stored data it keeps the entries of the batch that are named,
    and nothing else.

    Args:
        selected_keys: entries, or levels.
        keep_rewards: keep the rewards of the environment too.
        keep_dones: keep the flags of the environment too; otherwise name `done`, at least.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(self, *selected_keys: NestedKey, keep_rewards: bool = True, keep_dones: bool = True) -> None:
        super().__init__()
        self.selected_keys = canonical_keys(list(selected_keys))
        self.keep_rewards = keep_rewards
        self.keep_dones = keep_dones
        self._dropped: list[NestedKey] = []

    def _bind(self, specs: EnvSpecs) -> list[str]:
        kept = set(leaf_keys(specs.state))
        if self.keep_rewards:
            kept.update(leaf_keys(specs.reward))
        if self.keep_dones:
            kept.update(leaf_keys(specs.done))
        found = leaf_keys(specs.observation, specs.reward, specs.done)
        self._dropped = [key for key in found if key not in kept and not is_under(key, self.selected_keys)]
        return [f"selected_keys: {problem}" for problem in needed_problems(self._dropped, specs)]

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        return remove_entries(next_data, self._dropped)

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return remove_entries(reset_data, self._dropped)

    def _call(self, data: TensorMap) -> TensorMap:
        if isinstance(data, TensorDictBase):
            return data.select(*self.selected_keys, strict=False, inplace=True)
        return data

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Without the other entries."""
        return remove_specs(observation_spec, self._dropped)

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Without the other entries."""
        return remove_specs(reward_spec, self._dropped)

    def transform_done_spec(self, done_spec: Composite) -> Composite:
        """Without the other entries."""
        return remove_specs(done_spec, self._dropped)

    def __repr__(self) -> str:
        return f"SelectTransform({', '.join(repr(key) for key in self.selected_keys)})"
