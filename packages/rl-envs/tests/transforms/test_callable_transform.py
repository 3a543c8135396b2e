"""Tests of `rl_envs.transforms._callable_transform`: plain functions as transforms."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import NonTensorData, TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import nn

from rl_envs import (
    Compose,
    EnvBase,
    ParallelEnv,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    UnaryTransform,
    check_env_specs,
)
from rl_envs.testing import CountingEnv, EnvConformance, GrowingEnv, NestedCountingEnv, TextCountingEnv
from rl_specs import Bounded, Composite, FlatDict, NonTensor, SpecError, TensorMap, Unbounded


def doubled(data: TensorDictBase) -> TensorDictBase:
    """Another entry, and a larger reward, where there is one."""
    data["twice"] = torch.cat([data["observation"]] * 2, -1)
    if "reward" in data.keys():  # noqa: SIM118  a TensorDict is no dict
        data["reward"] = data["reward"] + 100
    return data


class TestConformance(EnvConformance):
    """An environment with a function keeps every promise."""

    def make_env(self) -> EnvBase:
        """Rows that end at different times."""
        return TransformedEnv(CountingEnv((2,), max_steps=[2, 3]), doubled)


class Box(EnvBase):
    """Sees ones, in bounds."""

    accepts_mapping = True

    def __init__(self) -> None:
        super().__init__(batch_size=())
        box = Bounded(0.0, 1.0, shape=(1,))
        self.observation_spec = Composite({"a": {"observation": box}, "kept": box})
        self.action_spec = Bounded(-1.0, 1.0, shape=(1,))

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return {("a", "observation"): torch.ones(1), "kept": torch.ones(1)}

    def _step(self, data: TensorMap) -> FlatDict:
        return {**self._reset(None), "reward": torch.ones(1), "done": torch.zeros(1, dtype=torch.bool)}

    def _set_seed(self, seed: int) -> None:
        pass


Give = Callable[[EnvBase, Any], TransformedEnv]
WAYS: dict[str, Give] = {
    "constructor": TransformedEnv,
    "list": lambda env, function: TransformedEnv(env, [function]),
    "compose": lambda env, function: TransformedEnv(env, Compose(function)),
    "append": lambda env, function: TransformedEnv(env).append_transform(function),
    "insert": lambda env, function: TransformedEnv(env, RewardSum()).insert_transform(0, function),
    "another layer": lambda env, function: TransformedEnv(TransformedEnv(env), function),
}


@pytest.mark.parametrize("way", WAYS)
def test_wherever_transforms_are_taken(way: str) -> None:
    """A function sees what resets and steps return; its entries are in the specs, later transforms go on from them."""
    env = WAYS[way](CountingEnv(max_steps=3), doubled)
    check_env_specs(env)
    assert env.observation_spec["twice"] == Unbounded(shape=(2,))
    data = env.rollout(3, lambda td: td.set("action", torch.zeros(1)))
    assert data["twice"].tolist() == [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]
    assert data["next", "twice"].tolist() == [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
    first = float(CountingEnv().rollout(1, lambda td: td.set("action", torch.zeros(1)))["next", "reward"])
    assert data["next", "reward"][0].item() == first + 100
    if way == "insert":
        assert data["next", "episode_reward"][1].item() == data["next", "reward"][:2].sum().item()


def test_partial_resets() -> None:
    """Rows outside of a mask keep what the function made of them."""
    env = TransformedEnv(CountingEnv((2,), max_steps=9), doubled)
    root = env.step_mdp(env.rand_step(env.reset()))
    fresh = env.reset(root.set("_reset", torch.tensor([[True], [False]])))
    assert fresh["twice"].tolist() == [[0.0, 0.0], [1.0, 1.0]]


def test_functions_that_write_in_place_or_make_another_tensordict() -> None:
    """Both are seen: bounds that no longer hold are left out of the specs, those of other entries stay."""

    def in_place(data: TensorDictBase) -> TensorDictBase:
        data["a", "observation"].add_(3)
        return data

    def another(data: TensorDictBase) -> TensorDictBase:
        return data.exclude("kept").set("new", torch.zeros(data.batch_size, dtype=torch.int64))

    env = TransformedEnv(Box(), in_place)
    assert env.observation_spec["a", "observation"] == Unbounded(shape=(1,))
    assert env.observation_spec["kept"] == Bounded(0.0, 1.0, shape=(1,))
    assert env.rollout(2)["next", "a", "observation"].tolist() == [[4.0], [4.0]]
    env.append_transform(another)
    assert "kept" not in env.observation_spec.keys()  # noqa: SIM118  a spec is no dict
    assert env.observation_spec["new"] == Unbounded(shape=(), dtype=torch.int64)
    check_env_specs(env)


def test_open_sizes_and_text() -> None:
    """A size that follows an open one is open; objects that a function makes have specs of objects."""

    def squares(data: TensorDictBase) -> TensorDictBase:
        return data.set("squares", data["points"].square())

    env = TransformedEnv(GrowingEnv(), squares)
    assert env.observation_spec["squares"].shape == (-1, 2)
    check_env_specs(env)

    def shouted(data: TensorDictBase) -> TensorDictBase:
        text: Any = data.get("text")
        return data.set("loud", NonTensorData(text.data.upper()))

    shouting = TransformedEnv(TextCountingEnv(), shouted)
    assert isinstance(shouting.observation_spec["loud"], NonTensor)
    check_env_specs(shouting)
    assert shouting.rollout(1).get(("next", "loud")).tolist() == ["STEP 1"]


def test_nested_entries_and_batches_of_envs() -> None:
    """Entries of groups can be written, and functions travel to workers."""

    def further(data: TensorDictBase) -> TensorDictBase:
        return data.set(("agents", "more"), data["agents", "observation"] + 1)

    def make() -> EnvBase:
        return TransformedEnv(NestedCountingEnv(), further)

    check_env_specs(make())
    serial, parallel = SerialEnv(2, make), ParallelEnv(2, make, start_method="fork")
    actions = [env.reset()["agents", "more"] for env in (serial, parallel)]
    assert torch.equal(*actions)
    parallel.close()


def test_modules_are_part_of_the_state() -> None:
    """A TensorDictModule is called as it is, and its weights are in `state_dict`."""
    network = nn.Linear(1, 2)
    module = TensorDictModule(network, in_keys=["observation"], out_keys=["hidden"])
    env = TransformedEnv(CountingEnv(), Compose(module, StepCounter()))
    check_env_specs(env)
    assert any("weight" in key for key in env.transform.state_dict())
    assert module.training


class Scaled(nn.Module):
    """A module that is no transform, and works on TensorDicts: it multiplies by three, and by two in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(3.0))

    def forward(self, data: TensorDictBase) -> TensorDictBase:
        """Write the product beside the observation."""
        return data.set("scaled", data["observation"] * (self.factor if self.training else 2.0))


@pytest.mark.parametrize("way", WAYS)
def test_any_module_from_tensordict_to_tensordict(way: str) -> None:
    """A plain module is called with the data, wherever transforms are taken; its weights are in `state_dict`, and it is
    in the mode of the environment."""
    env = WAYS[way](CountingEnv(max_steps=3), Scaled())
    check_env_specs(env)
    assert env.observation_spec["scaled"] == Unbounded(shape=(1,))
    assert env.rollout(2)["next", "scaled"].tolist() == [[3.0], [6.0]]
    assert [key for key in env.transform.state_dict() if key.endswith("factor")]
    assert env.eval().rollout(2)["next", "scaled"].tolist() == [[2.0], [4.0]]


def test_a_network_of_tensors_says_how_to_wrap_it() -> None:
    """A module that is no map of TensorDicts is refused when it is connected, with what to write instead."""
    env = TransformedEnv(CountingEnv())
    with pytest.raises(SpecError, match=r"Linear fails on zeros of a reset: .*ModuleTransform\(module="):
        env.append_transform(nn.Linear(1, 2))
    assert len(env.transform) == 0


def test_in_a_replay_buffer() -> None:
    """`Compose` with a function maps a stored batch, whatever its batch size."""
    data = TensorDict({"observation": torch.ones(3, 4, 1), "reward": torch.zeros(3, 4, 1)}, batch_size=[3, 4])
    found = Compose(doubled, UnaryTransform(["twice"], ["half"], fn=lambda value: value / 2))(data)
    assert found["half"].shape == (3, 4, 2)
    assert found["reward"].unique().tolist() == [100.0]


def test_what_does_not_fit_is_told() -> None:
    """A function that fails on a reset, returns nothing, takes flags away or changes the batch is refused when it is
    connected, and leaves the environment as it was."""

    def careless(data: TensorDictBase) -> TensorDictBase:
        return data.set("reward", data["reward"] + 1)

    def silent(data: TensorDictBase) -> None:
        data["x"] = data["observation"]

    cases: list[tuple[Any, str]] = [
        (careless, r"CallableTransform: careless fails on zeros of a reset: KeyError.*reward"),
        (silent, "silent returned no TensorDict. Expected a TensorDict, found NoneType"),
        (lambda data: data.exclude("done"), '<lambda> takes the flag "done" away'),
        (lambda data: data.unsqueeze(0), "another batch size"),
    ]
    env = TransformedEnv(CountingEnv())
    for function, told in cases:
        with pytest.raises(SpecError, match=told):
            env.append_transform(function)
        assert len(env.transform) == 0
    assert "careless" not in repr(env)
    assert repr(Compose(doubled)[0]) == "CallableTransform(doubled)"
