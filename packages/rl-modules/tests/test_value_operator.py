"""Critics."""

from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from rl_modules import MLP, ValueOperator


@pytest.mark.parametrize(
    ("in_keys", "out_key"),
    [
        (None, "state_value"),
        (["observation"], "state_value"),
        (["observation", "action"], "state_action_value"),
        (["observation", ("agents", "action")], "state_action_value"),
        (["pixels", ("action", "mask")], "state_value"),
        ({"x": "observation", "a": "action"}, "state_action_value"),
    ],
)
def test_out_key_says_what_is_valued(in_keys: Any, out_key: str) -> None:
    """A critic that reads an action writes "state_action_value", another one "state_value"."""
    assert ValueOperator(nn.Linear(4, 1), in_keys=in_keys).out_keys == [out_key]


def test_keys_can_be_named() -> None:
    """Named output keys are used, and the value has one entry per element of the batch."""
    critic = ValueOperator(MLP(out_features=1, num_cells=[4]), ["observation", "action"], ["q"])
    data = TensorDict({"observation": torch.randn(6, 3), "action": torch.randn(6, 2)}, [6])
    assert critic(data)["q"].shape == (6, 1)
