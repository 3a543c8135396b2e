"""Dimensions in another order."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import PermuteTransform, TransformedEnv, check_env_specs
from rl_specs import Bounded, Categorical, ShapeError, SpecError

MakeEnv = Callable[..., Any]


@pytest.mark.parametrize("lead", [(), (2,), (2, 6)], ids=str)
def test_by_hand(lead: tuple[int, ...]) -> None:
    """`[-1, -3, -2]` brings the last dimension to the front of the last three, whatever batch is before them."""
    image = torch.arange(24).reshape(2, 3, 4).expand(*lead, 2, 3, 4)
    found = PermuteTransform([-1, -3, -2], ["x"])(TensorDict({"x": image}, lead))["x"]
    assert found.shape == (*lead, 4, 2, 3)
    assert torch.equal(found, image.movedim(-1, -3))


def test_inverse(toy: MakeEnv) -> None:
    """An action goes in with its dimensions as they were; bounds move with the elements."""
    base = toy()
    low = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]], dtype=torch.float64)
    base.action_spec = Bounded(low, -low, shape=(2, 3), dtype=torch.float64)
    env = TransformedEnv(base, PermuteTransform([-1, -2], in_keys_inv=["action"]))
    assert isinstance(env.action_spec, Bounded)
    assert env.action_spec.low.tolist() == low.T.tolist()
    check_env_specs(env)
    action = torch.arange(6, dtype=torch.float64).reshape(3, 2) / 10
    env.step(env.reset().set("action", action))
    assert base.actions[-1].tolist() == action.T.tolist()


def test_three_dims_and_back() -> None:
    """The inverse of an order that is not its own inverse undoes it."""
    transform = PermuteTransform([-2, -1, -3])
    value = torch.arange(24).reshape(2, 3, 4)
    assert transform._apply_transform(value).shape == (3, 4, 2)
    assert torch.equal(transform._inv_apply_transform(transform._apply_transform(value)), value)


def test_dimensions_of_the_batch_stay(toy: MakeEnv) -> None:
    """Rows with fewer dimensions than the order are refused, also where the batch, of the same size, would do."""
    with pytest.raises(SpecError, match=r'in_keys: rows of "observation" have the shape \(3,\), and not the 2 dim'):
        TransformedEnv(toy((3,)), PermuteTransform([-1, -2], ["observation"]))
    with pytest.raises(SpecError, match=r'in_keys_inv: rows of "action" have the shape \(2,\)'):
        TransformedEnv(toy((2,)), PermuteTransform([-1, -2], in_keys_inv=["action"]))
    stored = TensorDict({"x": torch.arange(9.0).reshape(3, 3)}, [3])
    with pytest.raises(ShapeError, match=r"rows have too few dimensions. Expected 2 dimensions or more, found \(3,\)"):
        PermuteTransform([-1, -2], ["x"])(stored)
    with pytest.raises(ShapeError, match="too few dimensions"):
        PermuteTransform([-1, -2], in_keys_inv=["x"]).inv(stored)


def test_misuse() -> None:
    """Orders that leave out or repeat a dimension, and categories as actions, are refused."""
    with pytest.raises(ValueError, match=r"each of \[-2, -1\] once, found \[-1, -3\]"):
        PermuteTransform([-1, -3])
    with pytest.raises(ValueError, match="bad dims"):
        PermuteTransform([0, 1])
    with pytest.raises(SpecError, match="entry of another kind"):
        PermuteTransform([-1])._leaf_spec_inv(Categorical(3, shape=(2,)))
    assert repr(PermuteTransform([-1], ["x"])) == "PermuteTransform(dims=[-1], keys=['x'])"
