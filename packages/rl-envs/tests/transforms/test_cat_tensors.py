"""Joined entries."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import CatTensors, StatelessPendulumEnv, TransformedEnv, check_env_specs
from rl_specs import Bounded, Composite, SpecError, Unbounded

MakeEnv = Callable[..., Any]
_KEPT: dict[str, Any] = {"del_keys": False, "unsqueeze_if_oor": True}


def test_by_hand(toy: MakeEnv) -> None:
    """Entries are joined in the order of their names and removed."""
    env = TransformedEnv(toy(), CatTensors(["observation", ("agents", "x")]))
    data = env.rollout(2)
    assert data["next", "observation_vector"][1].tolist() == [1.0, -2.0, 2.0, 4.0, 6.0]
    assert "observation" not in data.keys()  # noqa: SIM118
    assert ("agents", "x") not in data.keys(True)
    assert set(env.observation_keys) == {"pixels", "observation_vector"}


def test_order_and_keeping(toy: MakeEnv) -> None:
    """`sort=False` keeps the given order; `del_keys=False` keeps the entries."""
    env = TransformedEnv(toy(), CatTensors(["observation", ("agents", "x")], "all", sort=False, del_keys=False))
    root = env.rollout(1)["next"][0]
    assert root["all"].tolist() == [1.0, 2.0, 3.0, 0.5, -1.0]
    assert root["observation"].tolist() == [1.0, 2.0, 3.0]


def test_out_key_among_the_in_keys(toy: MakeEnv) -> None:
    """The result may replace one of its parts."""
    env = TransformedEnv(toy((2,)), CatTensors(["observation", ("agents", "x")], "observation"))
    assert env.observation_spec["observation"].shape == (2, 5)
    assert env.reset()["observation"].shape == (2, 5)


def test_numbers_are_joined_as_vectors_of_one() -> None:
    """With `unsqueeze_if_oor` numbers `[*B]` are joined to vectors, and vectors to matrices; without, they are told."""
    env = TransformedEnv(StatelessPendulumEnv(seed=0, batch_size=(3,)), CatTensors(["th", "thdot"], **_KEPT))
    data = env.rollout(2)
    assert data["observation_vector"].shape == (3, 2, 2)
    assert torch.equal(data["observation_vector"], torch.stack([data["th"], data["thdot"]], -1))
    high = torch.tensor([torch.pi, 8.0]).expand(3, 2)
    assert env.observation_spec["observation_vector"] == Bounded(-high, high, shape=(3, 2))
    check_env_specs(env)
    with pytest.raises(SpecError, match=r'no dimension -1 \("th": \(3,\), "thdot": \(3,\)\). Pass unsqueeze_if'):
        TransformedEnv(StatelessPendulumEnv(batch_size=(3,)), CatTensors(["th", "thdot"], del_keys=False))


def test_numbers_of_stored_data() -> None:
    """The batch size of stored data says what a row is: rows get the dimension, not the batch."""
    stored = TensorDict({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0, 4.0], [5.0, 6.0]])}, [2])
    found = CatTensors(["a", "b"], unsqueeze_if_oor=True)(stored.clone())["observation_vector"]
    assert found.tolist() == [[1.0, 3.0, 4.0], [2.0, 5.0, 6.0]]
    wide = CatTensors(["b", "b2"], dim=-2, unsqueeze_if_oor=True)(stored.set("b2", stored["b"].unsqueeze(1)))
    assert wide["observation_vector"].tolist() == [[[3.0, 4.0]] * 2, [[5.0, 6.0]] * 2]


def test_every_observation(toy: MakeEnv) -> None:
    """Without in keys all observations are joined."""
    base = toy()
    base.observation_spec = base.observation_spec["agents"]
    env = TransformedEnv(base, CatTensors(out_key="vector"))
    assert env.transform[0].in_keys == ["x"]


def test_bounds_are_joined() -> None:
    """Where all parts are bounded so is the result, each part with its own bounds."""
    spec = Composite(
        {"a": Bounded(0.0, 1.0, shape=(2,)), "b": Bounded(-3.0, 2.0, shape=(1,)), "c": Unbounded(shape=(1,))}
    )
    joined = CatTensors(["a", "b"]).transform_observation_spec(spec.clone())["observation_vector"]
    assert isinstance(joined, Bounded)
    assert joined.space.low.tolist() == [0.0, 0.0, -3.0]
    assert joined.space.high.tolist() == [1.0, 1.0, 2.0]
    loose = CatTensors(["a", "c"], del_keys=False).transform_observation_spec(spec.clone())
    assert isinstance(loose["observation_vector"], Unbounded)


def test_along_another_dim() -> None:
    """`dim` counts from the end, so that a batch in front does not matter."""
    data = TensorDict({"a": torch.zeros(4, 1, 3), "b": torch.ones(4, 2, 3)}, [4])
    assert CatTensors(["a", "b"], "c", dim=-2)(data)["c"].shape == (4, 3, 3)


def test_misuse(toy: MakeEnv) -> None:
    """Wrong dims, shapes that do not fit, rewards and states are refused when building or connecting."""
    with pytest.raises(ValueError, match="negative"):
        CatTensors(["a"], dim=0)
    with pytest.raises(SpecError, match="shapes differ in more than dim"):
        TransformedEnv(toy(), CatTensors(["observation", "pixels"]))
    with pytest.raises(SpecError, match="no observation"):
        TransformedEnv(toy(), CatTensors(["observation", "reward"]))
    base = toy()
    base.state_spec = Composite({"observation": base.observation_spec["observation"]}, shape=())
    with pytest.raises(SpecError, match="del_keys=False"):
        TransformedEnv(base, CatTensors(["observation"]))


def test_stored_data_without_keys() -> None:
    """Without keys, and in no environment, it is not known what to join."""
    with pytest.raises(RuntimeError, match=r"CatTensors: in_keys are not known.*Give in_keys"):
        CatTensors()(TensorDict({"observation": torch.zeros(3)}))
