"""Casts."""

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict

from rl_envs import Compose, DoubleToFloat, TransformedEnv
from rl_specs import Bounded, Composite

MakeEnv = Callable[..., Any]


def test_finds_every_double(toy: MakeEnv) -> None:
    """Without keys every float64 entry is float32 outside, and the base env gets its float64 action."""
    base = toy()
    env = TransformedEnv(base, DoubleToFloat())
    assert (env.transform[0].in_keys, env.transform[0].in_keys_inv) == (["observation"], ["action"])
    assert env.observation_spec["observation"].dtype == torch.float32
    assert env.full_action_spec["action"].dtype == torch.float32
    data = env.rollout(3)
    assert data["next", "observation"].tolist() == [[1, 2, 3], [2, 4, 6], [3, 6, 9]]
    assert data["action"].dtype == data["observation"].dtype == torch.float32
    assert base.actions[-1].dtype == torch.float64


def test_given_keys_alone(toy: MakeEnv) -> None:
    """With in keys the action is left as it is."""
    env = TransformedEnv(toy(), DoubleToFloat(in_keys=["observation"]))
    assert env.full_action_spec["action"].dtype == torch.float64
    assert env.rollout(2)["observation"].dtype == torch.float32


def test_states_are_left_alone(toy: MakeEnv) -> None:
    """An entry that the env reads back keeps its precision."""
    base = toy()
    base.state_spec = Composite({"observation": base.observation_spec["observation"]}, shape=())
    env = TransformedEnv(base, Compose(DoubleToFloat()))
    assert env.observation_spec["observation"].dtype == torch.float64


@given(st.floats(-1e6, 1e6), st.floats(0, 1e3))
def test_actions_stay_inside_the_inner_bounds(low: float, width: float) -> None:
    """Every action in the outer bounds is, cast to float64, inside the inner ones; the bounds are rounded inwards."""
    transform = DoubleToFloat(in_keys_inv=["action"])
    inner = Bounded(low, low + width + 1.0, shape=(1,), dtype=torch.float64)
    outer = transform._leaf_spec_inv(inner)
    assert isinstance(outer, Bounded)
    assert outer.dtype == torch.float32
    for bound in (outer.space.low, outer.space.high, outer.rand()):
        assert inner.is_in(transform._inv_apply_transform(bound))


def test_a_tenth_is_rounded_inwards() -> None:
    """The float32 nearest to 0.1 lies above 0.1, so the outer bound is the one below."""
    outer = DoubleToFloat()._leaf_spec_inv(Bounded(-0.1, 0.1, shape=(1,), dtype=torch.float64))
    assert isinstance(outer, Bounded)
    assert outer.space.high.double().item() <= 0.1 < torch.tensor(0.1, dtype=torch.float32).double().item()
    assert outer.space.high.double().item() > 0.0999999


def test_without_keys_on_stored_data(toy: MakeEnv) -> None:
    """Without keys and in no environment every float64 entry is cast, at every level; one in an environment casts the
    entries that it found there."""
    zeros = torch.zeros(2)
    data = TensorDict({"a": zeros.double(), "next": {"b": zeros.double(), "n": zeros.int()}}, [2])
    found = DoubleToFloat()(data.copy())
    assert found["a"].dtype is found["next", "b"].dtype is torch.float32
    assert found["next", "n"].dtype is torch.int32
    env = TransformedEnv(toy(), DoubleToFloat())
    assert env.transform[0](TensorDict({"observation": torch.zeros(3).double()}))["observation"].dtype is torch.float32
