"""Calls of networks that were taken apart."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import (
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    TensorDictSequential,
)
from torch import Tensor, nn

from rl_objectives import ClipPPOLoss
from rl_objectives._call import NetworkCall

Make = Callable[..., Any]


def linear(in_key: str, out_key: str, size: int = 3) -> TensorDictModule:
    """One stock module."""
    return TensorDictModule(nn.Linear(3, size), [in_key], [out_key])


def observations() -> TensorDict:
    """Five rows."""
    return TensorDict({"observation": torch.randn(5, 3)}, [5])


def value_of(call: NetworkCall, data: TensorDict) -> Any:
    """What the network writes under `"value"`."""
    return call.outputs("test", data, fix="")["value"]


class Doubled(TensorDictModule):
    """A module with a `forward` of its own."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Twice the value."""
        data = super().forward(*args, **kwargs)
        return data.set("value", 2 * data.get("value"))


NETWORKS: dict[str, Callable[[], Any]] = {
    "one module": lambda: linear("observation", "value"),
    "sequence": lambda: TensorDictSequential(linear("observation", "hidden"), linear("hidden", "value")),
    "nested": lambda: TensorDictSequential(
        TensorDictSequential(linear("observation", "hidden"), linear("hidden", "hidden")), linear("hidden", "value")
    ),
    "subclass": lambda: TensorDictSequential(
        linear("observation", "hidden"), Doubled(nn.Linear(3, 3), ["hidden"], ["value"])
    ),
    "selected": lambda: TensorDictSequential(
        linear("observation", "hidden"), linear("hidden", "value"), selected_out_keys=["value"]
    ),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_numbers_are_those_of_the_plain_call(kind: str) -> None:
    """Bitwise, whether the network can be taken apart or not; the input gets no new entries."""
    network, data = NETWORKS[kind](), observations()
    assert torch.equal(value_of(NetworkCall(network), data), network(data.clone())["value"])
    assert set(data.keys()) == {"observation"}


def test_a_hook_that_comes_later_runs() -> None:
    """Hooks registered on any level after the network was taken apart change what comes out, until removed."""
    network: Any = NETWORKS["nested"]()
    call, data = NetworkCall(network), observations()
    plain = value_of(call, data)

    def double(module: Any, args: Any, output: Any) -> Any:
        return output.set("value", 2 * output["value"])

    def clear(module: Any, args: Any) -> None:
        args[0]["hidden"].zero_()

    for handle in (network.register_forward_hook(double), network[1].register_forward_pre_hook(clear)):
        changed = value_of(call, data)
        assert torch.equal(changed, network(data.clone())["value"])
        assert not torch.equal(changed, plain)
        handle.remove()
    assert torch.equal(value_of(call, data), plain)


def test_a_hook_that_comes_later_is_compiled() -> None:
    """A hook registered after the network was taken apart, and before it is compiled, is part of the graph."""
    torch.compiler.reset()
    network: Any = NETWORKS["sequence"]()
    call, data = NetworkCall(network), observations()
    plain = value_of(call, data)

    def double(module: Any, args: Any, output: Any) -> Any:
        return output.set("hidden", 2 * output["hidden"])

    network[0].register_forward_hook(double)
    compiled: Any = torch.compile(value_of, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(call, data), network(data.clone())["value"])
    assert not torch.allclose(compiled(call, data), plain)


def test_a_part_that_is_replaced_is_replaced() -> None:
    """A network put in the place of another, on any level, is the one that is called."""
    network: Any = NETWORKS["sequence"]()
    call, data = NetworkCall(network), observations()
    network[1].module = nn.Linear(3, 3)
    assert torch.equal(value_of(call, data), network(data.clone())["value"])
    network.module[0] = linear("observation", "hidden")
    assert torch.equal(value_of(call, data), network(data.clone())["value"])


def test_a_policy_with_its_own_distribution_is_asked_for_it() -> None:
    """A policy, or a head, that overrides `get_dist` decides about the distribution."""

    class Shifted(ProbabilisticTensorDictModule):
        def get_dist(self, tensordict: Any) -> Any:
            return torch.distributions.Normal(tensordict.get("loc") + 7.0, 1.0)

    head = Shifted(["loc"], ["action"], distribution_class=torch.distributions.Normal)
    policy = ProbabilisticTensorDictSequential(linear("observation", "loc"), head)
    data = observations()
    dist: Any = NetworkCall(policy).distribution("test", data, fix="")
    expected: Any = policy.get_dist(data.clone())
    torch.testing.assert_close(dist.loc, expected.loc)


def test_a_copied_loss_calls_its_copied_networks(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """A deep copy is computed with the networks of the copy, not with those of the original."""
    actor = make_actor()
    loss = ClipPPOLoss(actor, make_critic())
    batch = make_batch(actor, 8)
    twin = copy.deepcopy(loss)
    before: Tensor = twin(batch)["loss_critic"]
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.add_(1.0)
    torch.testing.assert_close(twin(batch)["loss_critic"], before)
    assert not torch.allclose(loss(batch)["loss_critic"], before)
