"""Deterministic policies."""

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from rl_modules import Actor
from rl_specs import Bounded, Composite


def test_keys_default_to_observation_and_action() -> None:
    """An actor reads "observation" and writes "action" unless told otherwise."""
    actor = Actor(nn.Linear(5, 3))
    assert (actor.in_keys, actor.out_keys) == (["observation"], ["action"])
    named = Actor(nn.Linear(5, 3), in_keys=["obs"])
    assert named(TensorDict({"obs": torch.randn(2, 5)}, [2]))["action"].shape == (2, 3)


def test_out_key_follows_a_composite_spec() -> None:
    """The key of a composite spec with one entry becomes the output key; several need to be named."""
    leaf = Bounded(-1, 1, (3,))
    actor = Actor(nn.Linear(5, 3), spec=Composite({("agents", "action"): leaf}), safe=True)
    assert actor.out_keys == [("agents", "action")]
    data = actor(TensorDict({"observation": 100 * torch.randn(5)}))
    assert data["agents", "action"].abs().max() <= 1
    with pytest.raises(ValueError, match="several entries"):
        Actor(nn.Linear(5, 3), spec=Composite(a=leaf, b=leaf))
