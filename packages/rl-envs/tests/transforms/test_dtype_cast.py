"""Entries of one dtype made another."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import DTypeCastTransform, TransformedEnv, check_env_specs
from rl_envs.transforms._leaf_specs import cast_spec
from rl_specs import Bounded, Categorical, MultiCategorical, Unbounded

MakeEnv = Callable[..., Any]


def test_found_in_an_env(toy: MakeEnv) -> None:
    """Without keys every observation and action of the dtype is cast, the action back, inside its bounds."""
    base = toy((2,))
    env = TransformedEnv(base, DTypeCastTransform(torch.float64, torch.float32))
    transform = env.transform[0]
    assert (transform.in_keys, transform.in_keys_inv) == (["observation"], ["action"])
    assert env.observation_spec["observation"].dtype == torch.float32
    assert isinstance(env.action_spec, Bounded)
    low, high = env.action_spec.low, env.action_spec.high
    assert low.dtype == torch.float32
    assert (low.double() >= -0.1).all()
    assert (high.double() <= 0.1).all()
    check_env_specs(env)
    assert base.actions[-1].dtype == torch.float64


def test_given_keys() -> None:
    """Given keys are cast, whatever dtype they have, and others are not; the fraction of a float is cut off."""
    data = TensorDict({"a": torch.tensor([1.75, -1.75]), "b": torch.ones(2)}, [2])
    result = DTypeCastTransform(torch.float32, torch.int64, in_keys=["a"], out_keys=["c"])(data)
    assert result["c"].tolist() == [1, -1]
    assert result["a"].dtype == result["b"].dtype == torch.float32


def test_without_keys_outside_of_an_env() -> None:
    """Without keys every entry of the dtype in a TensorDict is cast, at every level, and no other."""
    data = TensorDict({"a": torch.ones(2, dtype=torch.float64), "n": {"b": torch.ones(2, dtype=torch.float64)}}, [2])
    data["c"] = torch.ones(2, dtype=torch.int64)
    result = DTypeCastTransform(torch.float64, torch.float16)(data)
    assert result["a"].dtype == result["n", "b"].dtype == torch.float16
    assert result["c"].dtype == torch.int64


def test_specs() -> None:
    """Bounds are cast as values are; integers that do not hold them have none; categories stay categories."""
    to_int = DTypeCastTransform(torch.float32, torch.int32)
    assert to_int._leaf_spec(Bounded(-1.5, 2.5, shape=(2,))) == Bounded(-1, 2, shape=(2,), dtype=torch.int32)
    assert to_int._leaf_spec(Bounded(0.0, torch.inf, shape=(2,))) == Unbounded(shape=(2,), dtype=torch.int32)
    assert to_int._leaf_spec(Categorical(3, shape=(2,))) == Categorical(3, shape=(2,), dtype=torch.int32)


def test_inner_bounds_are_rounded_inwards() -> None:
    """Outer integers lie inside of the inner bounds; an infinite bound is the last number of the dtype."""
    to_int = DTypeCastTransform(torch.float32, torch.int8)
    assert to_int._leaf_spec_inv(Bounded(-1.5, 2.5, shape=(2,))) == Bounded(-1, 2, shape=(2,), dtype=torch.int8)
    assert to_int._leaf_spec_inv(Bounded(-0.5, torch.inf, shape=(1,))) == Bounded(0, 127, shape=(1,), dtype=torch.int8)


def test_misuse() -> None:
    """Out keys without in keys are refused."""
    with pytest.raises(ValueError, match="out keys without in keys"):
        DTypeCastTransform(torch.float32, torch.float64, out_keys=["a"])
    text = repr(DTypeCastTransform(torch.float32, torch.float64, in_keys=["a"]))
    assert text == "DTypeCastTransform(torch.float32 -> torch.float64, in_keys=['a'], in_keys_inv=[])"


def test_numbers_of_categories() -> None:
    """Categories as floats are bounded by the first and the last one, and flags are 0 or 1; in the bool dtype any."""
    spec = cast_spec(Categorical(5, shape=(3,)), torch.float32)
    assert spec == Bounded(0, 4, shape=(3,), dtype=torch.float32)
    flag = cast_spec(Categorical(2, shape=(3,), dtype=torch.bool), torch.float64)
    assert flag == Bounded(0, 1, shape=(3,), dtype=torch.float64)
    assert cast_spec(MultiCategorical([2, 3]), torch.float32) == Unbounded(shape=(2,), dtype=torch.float32)
    assert cast_spec(Categorical(5), torch.bool) == Unbounded(shape=(), dtype=torch.bool)
