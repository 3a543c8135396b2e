"""Entries that transforms carry in the data, and what guards them."""

from collections.abc import Callable
from typing import Any, final

import pytest
import torch

from rl_envs import ClipTransform, EnvSpecs, RewardSum, SerialEnv, Transform, TransformedEnv
from rl_specs import Composite, NestedKey, SpecError, TensorMap, Unbounded

MakeEnv = Callable[..., Any]


@final
class Carrier(Transform):
    """Counts steps under `"count"`; guards the count."""

    accepts_mapping = True

    def _bind(self, specs: EnvSpecs) -> list[str]:
        self.shape = torch.Size((*specs.observation.shape, 1))
        return []

    def _carried_keys(self) -> dict[NestedKey, bool]:
        return {"count": True}

    def _learn_carried(self, keys: list[NestedKey]) -> None:
        self.learned = keys

    def _before_reset(self, data: TensorMap | None) -> TensorMap | None:
        if data is not None:
            data["noted"] = data["_reset"]
        return data

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        next_data["count"] = data["count"] + 1
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        reset_data["count"] = torch.zeros(self.shape)
        return reset_data

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds the count."""
        observation_spec["count"] = Unbounded(shape=self.shape)
        return observation_spec


def test_writing_over_a_guarded_entry_is_a_mistake(toy: MakeEnv) -> None:
    """A later transform that changes what a step reads back is refused by name; with another out key it is fine."""
    with pytest.raises(SpecError, match=r'0, Carrier, reads "count" back, and ClipTransform changes it\. Place'):
        TransformedEnv(toy(), [Carrier(), ClipTransform(in_keys=["count"], low=1)])
    env = TransformedEnv(toy(), [Carrier(), ClipTransform(in_keys=["count"], out_keys=["clipped"], low=1)])
    assert env.rollout(2)["next", "count"].flatten().tolist() == [1.0, 2.0]


def test_entries_that_are_not_guarded_may_be_changed(toy: MakeEnv) -> None:
    """A sum that a later transform clips goes on from what was clipped, as the next root has it."""
    env = TransformedEnv(toy(), [RewardSum(), ClipTransform(in_keys=["episode_reward"], high=2)])
    assert env.rollout(3)["next", "episode_reward"].flatten().tolist() == [1.0, 2.0, 2.0]


def test_the_environment_inside_is_guarded_too(toy: MakeEnv) -> None:
    """Transforms around a `SerialEnv` may not write over what transforms inside of it read back."""
    inside = SerialEnv(2, lambda: TransformedEnv(toy(), Carrier()))
    with pytest.raises(SpecError, match=r'the environment inside reads "count" back, and ClipTransform changes it'):
        TransformedEnv(inside, ClipTransform(in_keys=["count"], low=1))


def test_each_transform_learns_what_is_carried_before_it(toy: MakeEnv) -> None:
    """A transform is told which entries the environment inside and the transforms before it read back."""
    inside = SerialEnv(2, lambda: TransformedEnv(toy(), RewardSum()))
    env = TransformedEnv(inside, [Carrier(), RewardSum(out_keys=["again"])])
    assert env.transform[0].learned == ["episode_reward"]
    assert env._carried_keys() == {"episode_reward": False, "count": True, "again": False}


def test_before_reset_maps_a_copy(toy: MakeEnv) -> None:
    """What `_before_reset` writes reaches the environment inside and not the caller's data."""
    base = toy((2,))
    seen: list[Any] = []
    base_reset = base._reset

    def noting_reset(data: TensorMap | None) -> TensorMap:
        seen.append(data)
        found: TensorMap = base_reset(data)
        return found

    base._reset = noting_reset
    env = TransformedEnv(base, Carrier())
    data: dict[NestedKey, torch.Tensor] = {"count": torch.ones(2, 1), "_reset": torch.tensor([[True], [False]])}
    env._reset(data)
    assert seen[0]["noted"].tolist() == [[True], [False]]
    assert set(data) == {"count", "_reset"}
    env.reset()
    assert seen[1] is None
