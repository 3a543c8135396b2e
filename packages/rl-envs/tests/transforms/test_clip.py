"""Clamping."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import ClipTransform, TransformedEnv, check_env_specs
from rl_specs import Bounded, SpecError, Unbounded

MakeEnv = Callable[..., Any]


def test_by_hand() -> None:
    """Values outside the bounds become the bounds; NaN stays NaN."""
    data = TensorDict({"x": torch.tensor([-3.0, -1.0, 0.5, 7.0, torch.nan])})
    result = ClipTransform(in_keys=["x"], low=-1, high=2)(data)["x"]
    assert result[:4].tolist() == [-1.0, -1.0, 0.5, 2.0]
    assert result[4].isnan()


def test_integers_stay_integers() -> None:
    """Bounds that the dtype cannot hold do not wrap around; fractions are rounded inwards."""
    data = TensorDict({"x": torch.tensor([0, 7, 255], dtype=torch.uint8)})
    wide = ClipTransform(in_keys=["x"], low=-1, high=300)(data.clone())["x"]
    assert (wide.tolist(), wide.dtype) == ([0, 7, 255], torch.uint8)
    assert ClipTransform(in_keys=["x"], low=0.5, high=9.5)(data.clone())["x"].tolist() == [1, 7, 9]


def test_one_sided() -> None:
    """With one bound the other side is free."""
    data = TensorDict({"x": torch.tensor([-3.0, 3.0])})
    assert ClipTransform(in_keys=["x"], high=1)(data.clone())["x"].tolist() == [-3.0, 1.0]
    assert ClipTransform(in_keys=["x"], low=1)(data.clone())["x"].tolist() == [1.0, 3.0]


def test_specs(toy: MakeEnv) -> None:
    """Specs get the bounds; bounds that are tighter already stay; an integer entry stays one."""
    env = TransformedEnv(toy(), ClipTransform(in_keys=["observation", "pixels", "reward"], low=10, high=20))
    for key, dtype in (("observation", torch.float64), ("pixels", torch.uint8)):
        spec = env.observation_spec[key]
        assert isinstance(spec, Bounded)
        assert spec.dtype == dtype
        assert (spec.space.low == 10).all()
        assert (spec.space.high == 20).all()
    assert env.reward_spec == Bounded(10, 20, shape=(1,), dtype=torch.float32)
    tight = ClipTransform(in_keys=["x"], low=-5)._leaf_spec(Bounded(-1.0, 1.0, shape=(2,)))
    assert tight == Bounded(-1.0, 1.0, shape=(2,))


def test_bad_bounds() -> None:
    """No bound, or bounds in the wrong order, are refused."""
    with pytest.raises(ValueError, match="no bound"):
        ClipTransform(in_keys=["x"])
    with pytest.raises(ValueError, match=r"low=2.0, high=1.0"):
        ClipTransform(in_keys=["x"], low=2, high=1)
    with pytest.raises(ValueError, match=r"ClipTransform: low has several elements. Expected one, found shape \(2,\)"):
        ClipTransform(in_keys=["x"], low=torch.zeros(2))
    with pytest.raises(ValueError, match="ClipTransform: high is NaN"):
        ClipTransform(in_keys=["x"], high=torch.nan)
    assert ClipTransform(in_keys=["x"], low=torch.tensor([2])).low == 2.0
    assert repr(ClipTransform(in_keys=["x"], low=2)) == "ClipTransform(low=2.0, high=None, keys=['x'])"
    assert (ClipTransform(in_keys=["x"], low=2).low, ClipTransform(in_keys=["x"], low=2).high) == (2.0, None)


def test_actions_by_hand(toy: MakeEnv) -> None:
    """An action reaches the environment clamped, under its inner name; the policy's entry stays as it was."""
    base = toy()
    env = TransformedEnv(base, ClipTransform(in_keys_inv=["action"], out_keys_inv=["wish"], low=-0.05, high=0.02))
    assert env.full_action_spec["wish"] == Unbounded(shape=(2,), dtype=torch.float64)
    assert "action" not in env.full_action_spec.keys()  # noqa: SIM118  a spec is no dict
    wish = torch.tensor([-3.0, 0.01], dtype=torch.float64)
    stepped = env.step(env.reset().set("wish", wish))
    assert base.actions[0].tolist() == [-0.05, 0.01]
    assert stepped["wish"].tolist() == [-3.0, 0.01]
    check_env_specs(env)


def test_bounds_of_actions_outside(toy: MakeEnv) -> None:
    """Clamped from below alone, or to wider bounds than the action has, the other bound is the environment's own."""
    env = TransformedEnv(toy(), ClipTransform(in_keys_inv=["action"], low=-0.05, high=5))
    assert env.full_action_spec["action"] == Bounded(-torch.inf, 0.1, shape=(2,), dtype=torch.float64)
    env = TransformedEnv(toy(), ClipTransform(in_keys_inv=["action"], high=0.1))
    assert env.full_action_spec["action"] == Bounded(-0.1, torch.inf, shape=(2,), dtype=torch.float64)


def test_actions_of_stored_data() -> None:
    """`inv` clamps what a buffer stores, and leaves what it was given alone."""
    given = TensorDict({"action": torch.tensor([[-3.0], [0.5], [3.0]])}, batch_size=[3])
    stored = ClipTransform(in_keys_inv=["action"], low=-1, high=1).inv(given)
    assert stored["action"].flatten().tolist() == [-1.0, 0.5, 1.0]
    assert given["action"].flatten().tolist() == [-3.0, 0.5, 3.0]


def test_actions_that_cannot_be_clamped(toy: MakeEnv) -> None:
    """Bounds outside those of the action, and actions without an order, are wiring mistakes."""
    with pytest.raises(SpecError, match=r'in_keys_inv: "action" has no values between low=1.0 and high=None'):
        TransformedEnv(toy(), ClipTransform(in_keys_inv=["action"], low=1))
    with pytest.raises(SpecError, match=r'in_keys_inv: "action" is of kind Categorical'):
        TransformedEnv(toy(is_discrete=True), ClipTransform(in_keys_inv=["action"], low=0))
