"""Entries left out."""

from typing import ClassVar, final

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._selection import is_under, needed_problems, remove_entries, remove_specs
from rl_envs.transforms._wiring import leaf_keys
from rl_envs.transforms.transform import Transform
from rl_specs import Composite, NestedKey, TensorMap, canonical_keys, key_str


@final
class ExcludeTransform(Transform):
    """Removes entries, or with the name of a level everything below it; names that are not there are passed over.

    In an environment it removes what resets and steps return. `done`, and what the environment reads back, have to
    stay, and so does what an earlier transform carries from step to step (such as `episode_reward`). On stored data it
    removes entries of the batch itself: `ExcludeTransform(("next", "pixels"))`.

    Args:
        excluded_keys: entries, or levels.
        inverse: remove from what goes in instead: what is stored in a replay buffer, or what a step reads.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(self, *excluded_keys: NestedKey, inverse: bool = False) -> None:
        super().__init__()
        self.excluded_keys = canonical_keys(list(excluded_keys))
        self.inverse = inverse
        self._dropped: list[NestedKey] = []

    def _bind(self, specs: EnvSpecs) -> list[str]:
        found = (specs.action, specs.state) if self.inverse else (specs.observation, specs.reward, specs.done)
        self._dropped = [key for key in leaf_keys(*found) if is_under(key, self.excluded_keys)]
        if self.inverse:
            carried = [key for key in self._carried_before if is_under(key, self.excluded_keys)]
            return [
                f"excluded_keys: {key_str(key)} is read by the environment, and has to stay"
                for key in dict.fromkeys([*self._dropped, *carried])
            ]
        return [f"excluded_keys: {problem}" for problem in needed_problems(self._dropped, specs)]

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        return remove_entries(next_data, self._dropped)

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return remove_entries(reset_data, self._dropped)

    def _call(self, data: TensorMap) -> TensorMap:
        return data if self.inverse else remove_entries(data, self.excluded_keys)

    def _inv_call(self, data: TensorMap) -> TensorMap:
        if not self.inverse:
            return data
        if isinstance(data, dict):
            return remove_entries(data, [key for key in data if is_under(key, self.excluded_keys)])
        return remove_entries(data, self.excluded_keys)

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Without the entries."""
        return observation_spec if self.inverse else remove_specs(observation_spec, self._dropped)

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Without the entries."""
        return reward_spec if self.inverse else remove_specs(reward_spec, self._dropped)

    def transform_done_spec(self, done_spec: Composite) -> Composite:
        """Without the entries."""
        return done_spec if self.inverse else remove_specs(done_spec, self._dropped)

    def __repr__(self) -> str:
        inverse = ", inverse=True" if self.inverse else ""
        return f"ExcludeTransform({', '.join(repr(key) for key in self.excluded_keys)}{inverse})"
