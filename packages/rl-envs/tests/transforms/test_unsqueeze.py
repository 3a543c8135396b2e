"""Entries with a dimension more."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import TransformedEnv, UnsqueezeTransform, check_env_specs
from rl_specs import Bounded

MakeEnv = Callable[..., Any]


@pytest.mark.parametrize("lead", [(), (2,), (2, 5)], ids=str)
def test_by_hand(lead: tuple[int, ...]) -> None:
    """The dimension counts from the end, or with `allow_positive_dim` from the first one after the batch."""
    data = TensorDict({"x": torch.zeros(*lead, 3, 4)}, lead)
    assert UnsqueezeTransform(-1, ["x"])(data.clone())["x"].shape == (*lead, 3, 4, 1)
    assert UnsqueezeTransform(-3, ["x"])(data.clone())["x"].shape == (*lead, 1, 3, 4)
    assert UnsqueezeTransform(0, ["x"], allow_positive_dim=True)(data.clone())["x"].shape == (*lead, 1, 3, 4)


def test_in_an_env(toy: MakeEnv) -> None:
    """Specs keep their bounds, results go to their out keys, and actions lose the dimension on their way in."""
    transform = UnsqueezeTransform(-4, ["pixels"], out_keys=["video"], in_keys_inv=["action"], out_keys_inv=["act"])
    base = toy((2,))
    base.action_spec = Bounded(-1.0, 1.0, shape=(2, 4, 3, 2), dtype=torch.float64)
    env = TransformedEnv(base, transform)
    assert env.observation_spec["video"] == Bounded(0, 255, shape=(2, 1, 4, 5, 3), dtype=torch.uint8)
    assert env.action_spec == Bounded(-1.0, 1.0, shape=(2, 1, 4, 3, 2), dtype=torch.float64)
    check_env_specs(env)
    assert base.actions[-1].shape == (2, 4, 3, 2)


def test_a_positive_dim_has_to_be_allowed() -> None:
    """Without `allow_positive_dim` a dimension counts from the end, or not at all."""
    with pytest.raises(ValueError, match=r"UnsqueezeTransform: dim is not negative.*allow_positive_dim=True"):
        UnsqueezeTransform(0)
    assert repr(UnsqueezeTransform(-1, ["x"])) == "UnsqueezeTransform(dim=-1, keys=['x'])"


def test_inverse_on_stored_data(toy: MakeEnv) -> None:
    """`inv` counts the batch dimensions of the data, in an environment of another batch shape and in none."""
    bound = UnsqueezeTransform(0, in_keys_inv=["action"], allow_positive_dim=True)
    TransformedEnv(toy((2,)), bound)
    for transform in (bound, UnsqueezeTransform(0, in_keys_inv=["action"], allow_positive_dim=True)):
        for lead in ((), (5,), (5, 4)):
            found = transform.inv(TensorDict({"action": torch.zeros(*lead, 1, 2)}, lead))
            assert found["action"].shape == (*lead, 2)
