"""Tests of grouped optimizers."""

import pytest
import torch
from torch import nn

from rl_objectives import group_optimizers


def step(optimizer: torch.optim.Optimizer, *modules: nn.Module) -> None:
    """One step on the sum of squares."""
    sum(parameter.square().sum() for module in modules for parameter in module.parameters()).backward()  # type: ignore[union-attr]  # not empty
    optimizer.step()
    optimizer.zero_grad()


def test_grouped_steps_are_those_of_the_parts() -> None:
    """Groups keep their hyperparameters and their state, so that both ways of stepping agree."""
    torch.manual_seed(0)
    nets = [nn.Linear(2, 2), nn.Linear(2, 2)]
    twins = [nn.Linear(2, 2), nn.Linear(2, 2)]
    for net, twin in zip(nets, twins, strict=True):
        twin.load_state_dict(net.state_dict())
    rates = (0.1, 0.01)
    apart = [torch.optim.Adam(net.parameters(), lr, fused=True) for net, lr in zip(nets, rates, strict=True)]
    parts = [torch.optim.Adam(twin.parameters(), lr, fused=True) for twin, lr in zip(twins, rates, strict=True)]
    for optimizer, net in zip([*apart, *parts], [*nets, *twins], strict=True):
        step(optimizer, net)
    grouped = group_optimizers(*parts)
    assert [group["lr"] for group in grouped.param_groups] == [0.1, 0.01]
    for _ in range(3):
        step(grouped, *twins)
        for optimizer, net in zip(apart, nets, strict=True):
            step(optimizer, net)
    for net, twin in zip(nets, twins, strict=True):
        torch.testing.assert_close(net.weight, twin.weight)


def test_wrong_groups_are_refused() -> None:
    """Different classes, none at all, and a parameter in two optimizers."""
    net = nn.Linear(2, 2)
    adam, sgd = torch.optim.Adam(net.parameters()), torch.optim.SGD(net.parameters())
    with pytest.raises(TypeError, match="Adam, SGD"):
        group_optimizers(adam, sgd)
    with pytest.raises(TypeError, match="nothing"):
        group_optimizers()
    with pytest.raises(ValueError, match="more than one"):
        group_optimizers(adam, torch.optim.Adam(net.parameters()))
