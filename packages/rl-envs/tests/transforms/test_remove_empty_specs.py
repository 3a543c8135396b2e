"""Levels without entries left out."""

from typing import Any

import torch
from tensordict import TensorDict

from rl_envs import EnvBase, RemoveEmptySpecs, TransformedEnv, check_env_specs
from rl_specs import Bounded, Composite, TensorMap, Unbounded


class Hollow(EnvBase):
    """An environment whose specs and data have levels without entries."""

    def __init__(self) -> None:
        super().__init__()
        inner = Composite({"deep": Composite({}), "x": Unbounded(shape=(1,))})
        self.observation_spec = Composite({"y": Unbounded(shape=(1,)), "other": Composite({"none": Composite({})})})
        self.observation_spec["inner"] = inner
        self.action_spec = Composite({"action": Bounded(-1, 1, shape=(1,)), "nothing": Composite({})})

    def _observe(self) -> TensorDict:
        empty = TensorDict({}, [])
        inner = TensorDict({"x": torch.zeros(1), "deep": empty.clone()}, [])
        return TensorDict({"y": torch.zeros(1), "inner": inner, "other": TensorDict({"none": empty}, [])}, [])

    def _reset(self, data: TensorMap | None) -> TensorMap:
        return self._observe()

    def _step(self, data: TensorMap) -> TensorMap:
        return self._observe().update({"reward": torch.zeros(1), "terminated": torch.zeros(1, dtype=torch.bool)})

    def _set_seed(self, seed: int) -> None:
        """No randomness."""


def _names(spec: Composite) -> set[Any]:
    return set(spec.keys(include_nested=True))


def test_specs_lose_empty_levels() -> None:
    """Levels that hold nothing at any depth go, the others and their entries stay."""
    env = TransformedEnv(Hollow(), RemoveEmptySpecs())
    check_env_specs(env)
    assert _names(env.full_observation_spec) == {"y", "inner", ("inner", "x")}
    assert _names(env.full_action_spec) == {"action"}
    assert ("inner", "deep") in _names(env.base_env.full_observation_spec)
    assert "other" not in env.rollout(2).keys()  # noqa: SIM118


def test_data_lose_empty_levels() -> None:
    """The same of a batch, in place."""
    empty = TensorDict({}, [2])
    data = TensorDict({"a": torch.zeros(2), "b": TensorDict({"c": empty}, [2]), "d": {"e": torch.zeros(2)}}, [2])
    assert RemoveEmptySpecs()(data) is data
    assert set(data.keys(True)) == {"a", "d", ("d", "e")}
