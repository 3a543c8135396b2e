"""Tests of valuing each observation once."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn

from rl_modules import MLP, ConvNet, ValueOperator
from rl_objectives import GAE
from rl_objectives.value import _network
from rl_objectives.value._each_once import rows_to_value, treats_rows_alike

WRITTEN = ("advantage", "value_target", "state_value", ("next", "state_value"))


class Doubled(nn.Linear):
    """A layer that is not stock."""


def in_module(*layers: nn.Module) -> TensorDictModule:
    """A value network of `layers`."""
    return TensorDictModule(nn.Sequential(*layers), ["observation"], ["state_value"])


def with_hook() -> TensorDictModule:
    """A value network with a hook inside."""
    layer = nn.Linear(3, 1)
    layer.register_forward_hook(lambda module, inputs, output: output)
    return in_module(layer)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (ValueOperator(MLP(in_features=3, out_features=1, num_cells=[8])), True),
        (in_module(ConvNet(in_features=3, num_cells=[4], kernel_sizes=2), nn.LazyLinear(1)), False),
        (in_module(ConvNet(in_features=3, num_cells=[4], kernel_sizes=2), nn.Linear(4, 1)), True),
        (TensorDictSequential(in_module(nn.Linear(3, 3), nn.Tanh()), in_module(nn.LayerNorm(3))), True),
        (ValueOperator(MLP(in_features=3, out_features=1, num_cells=[8], dropout=0.1)), False),
        (in_module(nn.BatchNorm1d(3), nn.Linear(3, 1)), False),
        (in_module(nn.LSTM(3, 1)), False),
        (in_module(Doubled(3, 1)), False),
        (with_hook(), False),
        (TensorDictModule(lambda x: x.cumsum(-2), ["observation"], ["state_value"]), False),
    ],
)
def test_only_networks_known_to_treat_rows_alike(network: Any, expected: bool) -> None:
    """Stock layers are a yes; what is subclassed, hooked, random, recurrent or unknown is a no."""
    assert treats_rows_alike(network) is expected


def test_rows_whose_next_observation_does_not_follow() -> None:
    """Ends of rows, and steps whose next observation differs in one feature or is not a number, are found."""
    before = torch.randn(2, 4, 3)
    after = torch.cat([before[:, 1:], torch.randn(2, 1, 3)], 1)
    after[0, 1, 2] += 1.0
    before[1, 1, 0] = after[1, 0, 0] = torch.nan
    assert rows_to_value({"x": before}, {"x": after}, 1, 2).tolist() == [1, 3, 4, 7]
    flag, other_flag = torch.zeros(2, 4), torch.zeros(2, 4)
    other_flag[1, 2] = 1.0
    found = rows_to_value({"x": before, "f": flag}, {"x": after, "f": other_flag}, 1, 2)
    assert found.tolist() == [1, 3, 4, 6, 7]


@pytest.mark.parametrize("shape", [(9,), (3, 9), (2, 3, 9), (4, 1)])
@pytest.mark.parametrize("differing", [0.0, 0.3, 1.0])
def test_equals_valuing_both(
    shape: tuple[int, ...],
    differing: float,
    make_actor: Callable[..., Any],
    make_batch: Callable[..., TensorDict],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Estimates are those of valuing both observations of each step, however many of the next ones follow."""
    data = make_batch(make_actor(), *shape, estimates=False)
    unlike = torch.rand(*shape, 1) < differing
    data["next", "observation"] = torch.where(unlike, torch.randn(*shape, 3), data["next", "observation"])
    gae = GAE(gamma=0.9, lmbda=0.8, value_network=ValueOperator(MLP(3, 1, num_cells=[8])))
    front = data.permute(-1, *range(len(shape) - 1)).contiguous()
    once = gae(data.clone())
    at_front = GAE(gamma=0.9, lmbda=0.8, value_network=gae.value_network, time_dim=0)(front)
    monkeypatch.setattr(_network, "treats_rows_alike", lambda network: False)
    both = gae(data.clone())
    for key in WRITTEN:
        torch.testing.assert_close(once[key], both[key])
        torch.testing.assert_close(at_front[key].movedim(0, len(shape) - 1), both[key])


def test_gradients_equal_those_of_valuing_both(
    make_actor: Callable[..., Any], make_batch: Callable[..., TensorDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value used twice receives the gradients of both uses."""
    data = make_batch(make_actor(), 3, 9, estimates=False)
    gae = GAE(gamma=0.9, lmbda=0.8, value_network=ValueOperator(MLP(3, 1, num_cells=[8])), differentiable=True)

    def gradients() -> list[torch.Tensor]:
        loss = gae(data.clone())["advantage"].square().sum()
        return list(torch.autograd.grad(loss, list(gae.parameters())))

    once = gradients()
    monkeypatch.setattr(_network, "treats_rows_alike", lambda network: False)
    for found, expected in zip(once, gradients(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_an_observation_that_follows_is_valued_once(
    make_actor: Callable[..., Any], make_batch: Callable[..., TensorDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network sees one row a step and one more for each trajectory that ends."""
    data = make_batch(make_actor(), 4, 50, estimates=False)
    seen: list[int] = []
    forward = nn.Linear.forward

    def counted(layer: nn.Linear, inputs: torch.Tensor) -> torch.Tensor:
        seen.append(inputs[..., 0].numel())
        return forward(layer, inputs)

    monkeypatch.setattr(nn.Linear, "forward", counted)
    GAE(gamma=0.9, lmbda=0.8, value_network=in_module(nn.Linear(3, 1)))(data)
    ends = data["next", "done"].squeeze(-1).clone()
    ends[:, -1] = True
    assert seen == [4 * 50 + int(ends.sum())]
