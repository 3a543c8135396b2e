"""Entries with a dimension less."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import SqueezeTransform, TransformedEnv, check_env_specs
from rl_specs import Bounded, ShapeError, SpecError

MakeEnv = Callable[..., Any]


@pytest.mark.parametrize("lead", [(), (2,), (1,), (2, 1)], ids=str)
def test_by_hand(lead: tuple[int, ...]) -> None:
    """The dimension counts from the end, or with `allow_positive_dim` from the first one after the batch."""
    data = TensorDict({"x": torch.zeros(*lead, 1, 3)}, lead)
    assert SqueezeTransform(-2, ["x"])(data.clone())["x"].shape == (*lead, 3)
    assert SqueezeTransform(0, ["x"], allow_positive_dim=True)(data.clone())["x"].shape == (*lead, 3)


def test_inverse(toy: MakeEnv) -> None:
    """An action without the dimension goes in with it, and keeps its bounds."""
    base = toy((2,))
    base.action_spec = Bounded(-1.0, 1.0, shape=(2, 1, 4), dtype=torch.float64)
    env = TransformedEnv(base, SqueezeTransform(-2, in_keys_inv=["action"]))
    assert env.action_spec == Bounded(-1.0, 1.0, shape=(2, 4), dtype=torch.float64)
    check_env_specs(env)
    assert base.actions[-1].shape == (2, 1, 4)


def test_another_size_than_one(toy: MakeEnv) -> None:
    """A dimension of another size, or none, is an error and not left alone."""
    with pytest.raises(ShapeError, match=r"dimension -1 has another size than 1. Expected size 1.*\(3,\)"):
        SqueezeTransform(-1, ["x"])(TensorDict({"x": torch.zeros(3)}))
    with pytest.raises(ShapeError, match="dimension -2"):
        SqueezeTransform(-2, ["x"])(TensorDict({"x": torch.zeros(1)}))
    with pytest.raises(SpecError, match="dimension -1 has another size than 1"):
        TransformedEnv(toy(), SqueezeTransform(-1, ["observation"]))
    with pytest.raises(ValueError, match="dim is not negative"):
        SqueezeTransform(0)
    assert repr(SqueezeTransform(-1, ["x"])) == "SqueezeTransform(dim=-1, keys=['x'])"
