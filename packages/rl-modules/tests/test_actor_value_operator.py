"""Actor and critic over a shared trunk."""

from typing import Any

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn

from rl_modules import ActorValueOperator, NormalParamExtractor, ProbabilisticActor, TanhNormal, ValueOperator


@pytest.fixture
def operator() -> ActorValueOperator:
    """A trunk of 8 units with a stochastic policy and a critic."""
    trunk = TensorDictModule(nn.Linear(3, 8), ["observation"], ["hidden"])
    head = TensorDictModule(nn.Sequential(nn.Linear(8, 4), NormalParamExtractor()), ["hidden"], ["loc", "scale"])
    policy = ProbabilisticActor(head, ["loc", "scale"], distribution_class=TanhNormal, return_log_prob=True)
    return ActorValueOperator(trunk, policy, ValueOperator(nn.Linear(8, 1), in_keys=["hidden"]))


def _data() -> TensorDict:
    return TensorDict({"observation": torch.randn(6, 3)}, [6])


def test_the_whole_writes_action_and_value(operator: ActorValueOperator) -> None:
    """Called as a whole it writes hidden features, action, score and value."""
    data = operator(_data())
    assert {"hidden", "action", "sample_log_prob", "state_value"} <= set(data.keys())


def test_operators_read_observations_and_share_parameters(operator: ActorValueOperator) -> None:
    """Policy and value operator agree with the whole, and hold its very parameters."""
    data = _data()
    whole = operator(data.clone())
    policy, value = operator.get_policy_operator(), operator.get_value_operator()
    assert torch.equal(policy(data.clone())["action"], whole["action"])
    assert torch.equal(value(data.clone())["state_value"], whole["state_value"])
    assert "state_value" not in policy(data.clone())
    assert isinstance(policy.get_dist(data), TanhNormal)
    assert {id(p) for p in policy.parameters()} | {id(p) for p in value.parameters()} == {
        id(p) for p in operator.parameters()
    }


def test_heads_read_hidden_features(operator: ActorValueOperator) -> None:
    """Heads are the modules that were given, without the trunk."""
    hidden: Any = TensorDict({"hidden": torch.randn(6, 8)}, [6])
    assert operator.get_policy_head()(hidden)["action"].shape == (6, 2)
    assert operator.get_value_head()(hidden)["state_value"].shape == (6, 1)


def test_a_deterministic_policy_will_do() -> None:
    """The policy may be any module between keys."""
    trunk = TensorDictModule(nn.Linear(3, 8), ["observation"], ["hidden"])
    policy = TensorDictModule(nn.Linear(8, 2), ["hidden"], ["action"])
    operator = ActorValueOperator(trunk, policy, ValueOperator(nn.Linear(8, 1), in_keys=["hidden"]))
    assert operator.get_policy_operator()(_data())["action"].shape == (6, 2)
