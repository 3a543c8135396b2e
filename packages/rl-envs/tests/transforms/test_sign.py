"""Signs of entries."""

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDict

from rl_envs import SignTransform, TransformedEnv
from rl_specs import Bounded, Unbounded

MakeEnv = Callable[..., Any]


def test_by_hand() -> None:
    """Numbers become -1, 0 or 1 in their dtype."""
    data = TensorDict({"x": torch.tensor([-2.5, 0.0, 3.0]), "n": torch.tensor([-7, 0, 9])})
    result = SignTransform(["x", "n"])(data)
    assert result["x"].tolist() == [-1.0, 0.0, 1.0]
    assert (result["n"].tolist(), result["n"].dtype) == ([-1, 0, 1], torch.int64)


def test_specs(toy: MakeEnv) -> None:
    """An entry without bounds lies in -1..1, one with bounds in their signs, an unsigned one in 0..1."""
    env = TransformedEnv(toy(), SignTransform(["observation", "pixels", "reward"]))
    assert env.observation_spec["observation"] == Bounded(-1.0, 1.0, shape=(3,), dtype=torch.float64)
    assert env.observation_spec["pixels"] == Bounded(0, 1, shape=(4, 5, 3), dtype=torch.uint8)
    assert env.reward_spec == Bounded(-1.0, 1.0, shape=(1,))
    unsigned = Unbounded(shape=(2,), dtype=torch.uint8)
    assert SignTransform(["x"])._leaf_spec(unsigned) == Bounded(0, 1, shape=(2,), dtype=torch.uint8)
    assert SignTransform(["x"])._leaf_spec(Bounded(0.5, 4.0, shape=(2,))) == Bounded(1.0, 1.0, shape=(2,))


def test_inverse(toy: MakeEnv) -> None:
    """The environment inside gets the sign of an action; outside the action has its own spec."""
    base = toy()
    env = TransformedEnv(base, SignTransform(in_keys_inv=["action"]))
    env.step(env.reset().set("action", torch.tensor([-0.05, 0.02], dtype=torch.float64)))
    assert base.actions[0].tolist() == [-1.0, 1.0]
    assert env.action_spec == base.action_spec
