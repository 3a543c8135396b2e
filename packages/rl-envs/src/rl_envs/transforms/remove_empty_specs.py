"""Levels without entries left out."""

from typing import ClassVar, final

from tensordict import TensorDictBase

from rl_envs.transforms.transform import Transform
from rl_specs import Composite, TensorMap


@final
class RemoveEmptySpecs(Transform):
    """Removes levels that hold no entry at any depth, from all specs and from the data.

    Data that an environment hands over as flat dicts have no such levels.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()

    def _call(self, data: TensorMap) -> TensorMap:
        if isinstance(data, TensorDictBase):
            _prune(data)
        return data

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Without empty levels."""
        return _pruned(observation_spec)

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """Without empty levels."""
        return _pruned(reward_spec)

    def transform_done_spec(self, done_spec: Composite) -> Composite:
        """Without empty levels."""
        return _pruned(done_spec)

    def transform_action_spec(self, action_spec: Composite) -> Composite:
        """Without empty levels."""
        return _pruned(action_spec)

    def transform_state_spec(self, state_spec: Composite) -> Composite:
        """Without empty levels."""
        return _pruned(state_spec)

    def __repr__(self) -> str:
        return "RemoveEmptySpecs()"


def _pruned(spec: Composite) -> Composite:
    for key, inner in spec.items():
        if isinstance(inner, Composite):
            if inner.is_empty():
                del spec[key]
            else:
                _pruned(inner)
    return spec


def _prune(data: TensorDictBase) -> None:
    for key, value in list(data.items()):
        if isinstance(value, TensorDictBase):
            _prune(value)
            if value.is_empty():
                del data[key]
