"""Dimensions made one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import FlattenObservation, TransformedEnv
from rl_specs import Bounded, MissingKeyError, SpecError

MakeEnv = Callable[..., Any]


@pytest.mark.parametrize("lead", [(), (2,), (2, 5)], ids=str)
def test_by_hand(lead: tuple[int, ...]) -> None:
    """Dimensions count from the end, or with `allow_positive_dim` from the first one after the batch."""
    value = torch.arange(24).reshape(2, 3, 4).expand(*lead, 2, 3, 4)
    data = TensorDict({"x": value}, lead)
    found = FlattenObservation(-3, -2, in_keys=["x"])(data.clone())["x"]
    assert found.shape == (*lead, 6, 4)
    assert found.reshape(-1, 6, 4)[0, 4].tolist() == [16, 17, 18, 19]
    both = FlattenObservation(0, -1, in_keys=["x"], allow_positive_dim=True)(data.clone())["x"]
    assert both.shape == (*lead, 24)


def test_specs_and_default_key(toy: MakeEnv) -> None:
    """Pixels are flattened by default, and their bounds with them."""
    env = TransformedEnv(toy((2,)), FlattenObservation(-3, -1))
    assert env.observation_spec["pixels"] == Bounded(0, 255, shape=(2, 60), dtype=torch.uint8)
    assert env.rollout(3)["next", "pixels"].shape == (2, 3, 60)


def test_inverse(toy: MakeEnv) -> None:
    """A flat entry is split on its way in, to the sizes that the environment has."""
    base = toy((2,))
    base.action_spec = Bounded(-1.0, 1.0, shape=(2, 3, 4), dtype=torch.float64)
    env = TransformedEnv(base, FlattenObservation(-2, -1, in_keys_inv=["action"], out_keys_inv=["flat"]))
    assert env.action_spec == Bounded(-1.0, 1.0, shape=(2, 12), dtype=torch.float64)
    action = torch.arange(24, dtype=torch.float64).reshape(2, 12) / 24
    root = env.reset()
    env.step(root.set("flat", action))
    assert torch.equal(base.actions[0], action.reshape(2, 3, 4))
    with pytest.raises(MissingKeyError, match='"flat" missing'):
        env.transform._inv_call({})


def test_misuse(toy: MakeEnv) -> None:
    """Dimensions in the wrong order, not allowed, or in the batch are refused."""
    with pytest.raises(ValueError, match="first_dim <= last_dim"):
        FlattenObservation(-1, -2)
    with pytest.raises(ValueError, match="first_dim is not negative"):
        FlattenObservation(0, -1)
    with pytest.raises(SpecError, match=r'rows of "observation" have the shape \(3,\), and not the 2 dim'):
        TransformedEnv(toy((2,)), FlattenObservation(-2, -1, in_keys=["observation"]))
    assert repr(FlattenObservation(-3, -1)) == "FlattenObservation(first_dim=-3, last_dim=-1, keys=['pixels'])"


def test_inverse_on_stored_data(toy: MakeEnv) -> None:
    """`inv` counts the batch dimensions of the data, not those of the environment, whatever they are; a transform that
    has seen no environment says that it does not know the sizes."""
    base = toy((2,))
    base.action_spec = Bounded(-1.0, 1.0, shape=(2, 3, 4, 2), dtype=torch.float64)
    transform = FlattenObservation(0, 1, in_keys_inv=["action"], out_keys_inv=["flat"], allow_positive_dim=True)
    env = TransformedEnv(base, transform)
    assert env.action_spec.shape == (2, 12, 2)
    for lead in ((), (5,), (5, 2), (5, 2, 7)):
        flat = torch.arange(24.0).reshape(12, 2).expand(*lead, 12, 2)
        found = transform.inv(TensorDict({"flat": flat}, lead))
        assert torch.equal(found["action"], flat.reshape(*lead, 3, 4, 2))
    with pytest.raises(RuntimeError, match='the sizes of "action" are not known'):
        FlattenObservation(-2, -1, in_keys_inv=["action"]).inv(TensorDict({"action": torch.zeros(3, 4)}, [3]))
