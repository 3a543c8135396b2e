"""Tests of target updates."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rl_objectives import ClipPPOLoss, HardUpdate, ReinforceLoss, SoftUpdate

Make = Callable[..., Any]


@pytest.fixture
def loss(make_actor: Make, make_critic: Make) -> ReinforceLoss:
    """A loss with targets, whose critic has moved away from them."""
    loss = ReinforceLoss(make_actor(), make_critic(), delay_value=True)
    with torch.no_grad():
        for parameter in loss.critic_network_params.parameters():
            parameter.add_(1.0)
    return loss


def pairs(loss: ReinforceLoss) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Target and source, leaf by leaf."""
    source = loss.critic_network_params
    return [(leaf, source.get(key).detach()) for key, leaf in loss.target_critic_network_params.items(True, True)]


@pytest.mark.parametrize("arguments", [{"tau": 0.25}, {"eps": 0.75}])
def test_soft_update_moves_a_share(loss: ReinforceLoss, arguments: dict[str, float]) -> None:
    """A step leaves `1 - tau` of the distance."""
    before = [(target.clone(), source.clone()) for target, source in pairs(loss)]
    SoftUpdate(loss, **arguments).step()
    for (target, source), (old, old_source) in zip(pairs(loss), before, strict=True):
        torch.testing.assert_close(target, 0.75 * old + 0.25 * old_source)
        assert torch.equal(source, old_source)


def test_hard_update_copies_at_its_interval(loss: ReinforceLoss) -> None:
    """Targets stand still for two steps and are the source after the third."""
    update = HardUpdate(loss, value_network_update_interval=3)
    for expected in (False, False, True):
        update.step()
        assert all(torch.equal(target, source) for target, source in pairs(loss)) is expected


def test_targets_do_not_train(loss: ReinforceLoss) -> None:
    """Targets are in the state of the loss, and not among its parameters."""
    assert any(key.startswith("target_critic_network_params") for key in loss.state_dict())
    assert not any(name.startswith("target") for name, _ in loss.named_parameters())
    assert not any(target.requires_grad for target, _ in pairs(loss))
    SoftUpdate(loss, tau=0.5).init_()
    assert all(torch.equal(target, source) for target, source in pairs(loss))


def test_wrong_use_is_refused(loss: ReinforceLoss, make_actor: Make, make_critic: Make) -> None:
    """A loss without targets, both or neither of eps and tau, and numbers out of range."""
    with pytest.raises(ValueError, match="no target parameters"):
        SoftUpdate(ClipPPOLoss(make_actor(), make_critic()), tau=0.1)
    for arguments in ({}, {"tau": 0.1, "eps": 0.9}, {"tau": 1.5}):
        with pytest.raises(ValueError, match="SoftUpdate"):
            SoftUpdate(loss, **arguments)
    with pytest.raises(ValueError, match="interval"):
        HardUpdate(loss, value_network_update_interval=0)
