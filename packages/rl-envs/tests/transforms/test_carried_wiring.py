"""Entries that transforms carry in the data, and what guards them."""

from collections.abc import Callable
from typing import Any, final

import pytest
import torch
from tensordict import TensorDictBase

from rl_envs import (
    CatFrames,
    CatTensors,
    ClipTransform,
    DeviceCastTransform,
    DoubleToFloat,
    DTypeCastTransform,
    EnvSpecs,
    NextObservationDelta,
    ObservationNorm,
    RenameTransform,
    RewardSum,
    SerialEnv,
    StepCounter,
    TargetReturn,
    TrajCounter,
    Transform,
    TransformedEnv,
    UnaryTransform,
    check_env_specs,
)
from rl_envs.testing import CountingEnv
from rl_specs import Composite, NestedKey, SpecError, TensorMap, Unbounded

MakeEnv = Callable[..., Any]


def _still(data: TensorDictBase) -> TensorDictBase:
    return data.set("action", torch.zeros(*data.batch_size, 1))


@final
class Carrier(Transform):
    """Counts steps under `"count"`, for itself."""

    accepts_mapping = True

    def _bind(self, specs: EnvSpecs) -> list[str]:
        self.shape = torch.Size((*specs.observation.shape, 1))
        return []

    def _carried_keys(self) -> dict[NestedKey, bool]:
        return {"count": False}

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


def test_writing_over_an_entry_that_is_read_back_is_a_mistake(toy: MakeEnv) -> None:
    """A later transform that changes what a step reads back is refused by name; with another out key it is fine."""
    with pytest.raises(SpecError, match=r'0, Carrier, reads "count" back, and ClipTransform changes it\. Place'):
        TransformedEnv(toy(), [Carrier(), ClipTransform(in_keys=["count"], low=1)])
    env = TransformedEnv(toy(), [Carrier(), ClipTransform(in_keys=["count"], out_keys=["clipped"], low=1)])
    assert env.rollout(2)["next", "count"].flatten().tolist() == [1.0, 2.0]


CARRIERS: dict[str, Callable[[], Transform]] = {
    "episode_reward": RewardSum,
    "step_count": StepCounter,
    "target_return": lambda: TargetReturn(100.0),
    "traj_count": TrajCounter,
}


@pytest.mark.parametrize("key", CARRIERS)
def test_sums_and_counts_are_not_written_over(key: str) -> None:
    """A map in place, a new name and a removal of what is added up are refused by name; a new entry is fine."""
    changes: list[Callable[[], Transform]] = [
        lambda: UnaryTransform([key], [key], fn=lambda value: 2 * value),
        lambda: RenameTransform([key], ["other"]),
        lambda: CatTensors([key, "observation"]),
    ]
    for change in changes:
        with pytest.raises(SpecError, match=f'reads "{key}" back, and .* changes it'):
            TransformedEnv(CountingEnv(), [CARRIERS[key](), change()])
    copied = UnaryTransform([key], ["twice"], fn=lambda value: 2 * value)
    data = TransformedEnv(CountingEnv(max_steps=9), [CARRIERS[key](), copied]).rollout(3)["next"]
    assert torch.equal(data["twice"], 2 * data[key])


@pytest.mark.parametrize("key", CARRIERS)
def test_transforms_of_every_observation_leave_sums_and_counts_out(key: str) -> None:
    """`ObservationNorm`, `CatTensors` and `NextObservationDelta` without keys take the observation alone, in a
    `SerialEnv` around the sums too."""
    takers: list[Callable[[], Transform]] = [lambda: ObservationNorm(1.0, 2.0), CatTensors, NextObservationDelta]
    for take in takers:
        env = TransformedEnv(CountingEnv(max_steps=9), [CARRIERS[key](), take()])
        assert env.transform[1].in_keys == ["observation"]
        plain = TransformedEnv(CountingEnv(max_steps=9), CARRIERS[key]())
        data, expected = (one.rollout(4, _still)["next"] for one in (env, plain))
        assert torch.equal(data[key], expected[key])
        check_env_specs(env)
        outside = TransformedEnv(SerialEnv(2, lambda: TransformedEnv(CountingEnv(), CARRIERS[key]())), take())
        assert outside.transform[0].in_keys == ["observation"]


def test_casts_may_write_over_sums_and_counts(toy: MakeEnv) -> None:
    """A float64 sum made float32 and a count made int32 go on; a cast to a few bits leaves them out, or is refused."""
    casts = [DoubleToFloat(), DTypeCastTransform(torch.int64, torch.int32)]
    env = TransformedEnv(
        toy(horizon=400), [RewardSum(["observation"], ["sum"]), StepCounter(max_steps=300), TrajCounter(), *casts]
    )
    check_env_specs(env)
    data = env.rollout(310, break_when_any_done=False)["next"]
    assert data["sum"].dtype is torch.float32
    assert data["step_count"].dtype is torch.int32
    assert data["sum"][:3, 0].tolist() == [1.0, 3.0, 6.0]
    assert data["step_count"][[0, 1, 299, 300]].flatten().tolist() == [1, 2, 300, 1]
    assert data["truncated"][[298, 299, 300]].flatten().tolist() == [False, True, False]
    small = TransformedEnv(toy(), [StepCounter(), DTypeCastTransform(torch.int64, torch.uint8)])
    assert small.full_observation_spec["step_count"].dtype is torch.int64
    with pytest.raises(SpecError, match="DTypeCastTransform changes it"):
        TransformedEnv(toy(), [StepCounter(), DTypeCastTransform(torch.int64, torch.uint8, in_keys=["step_count"])])


def test_a_move_to_a_device_spares_what_is_read_back(toy: MakeEnv) -> None:
    """`DeviceCastTransform` behind frames, counts and carriers of one's own moves all of it, there and back."""
    frames = CatFrames(2, -1, in_keys=["observation"])
    env = TransformedEnv(toy((2,)), [frames, TrajCounter(), Carrier(), DeviceCastTransform("cpu")])
    check_env_specs(env)
    data = env.rollout(2)["next"]
    assert data["count"][0].flatten().tolist() == [1.0, 2.0]
    assert data["observation"][0, 1].tolist() == [1.0, 2.0, 3.0, 2.0, 4.0, 6.0]
    keyed = DeviceCastTransform("cpu", in_keys=["traj_count", "observation"])
    check_env_specs(TransformedEnv(toy((2,)), [CatFrames(2, -1, in_keys=["observation"]), TrajCounter(), keyed]))


def test_the_environment_inside_is_kept_safe_too(toy: MakeEnv) -> None:
    """Transforms around a `SerialEnv` may not write over what transforms inside of it read back."""
    inside = SerialEnv(2, lambda: TransformedEnv(toy(), Carrier()))
    with pytest.raises(SpecError, match=r'the environment inside reads "count" back, and ClipTransform changes it'):
        TransformedEnv(inside, ClipTransform(in_keys=["count"], low=1))


def test_each_transform_learns_what_is_carried_before_it(toy: MakeEnv) -> None:
    """A transform is told which entries the environment inside and the transforms before it read back."""
    inside = SerialEnv(2, lambda: TransformedEnv(toy(), RewardSum()))
    env = TransformedEnv(inside, [Carrier(), RewardSum(out_keys=["again"])])
    assert env.transform[0]._carried_before == {"episode_reward": True}
    assert env.transform[1]._carried_before == {"episode_reward": True, "count": False}
    assert env._carried_keys() == {"episode_reward": True, "count": False, "again": True}


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
