"""Tests that hold for every policy-gradient loss: gradients, keys, parameters, errors."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import InteractionType, NormalParamExtractor, TensorDictModule
from tensordict.nn.probabilistic import interaction_type
from torch import Tensor, nn

from rl_modules import ActorValueOperator, IndependentNormal, ProbabilisticActor, SafeModule, TanhNormal, ValueOperator
from rl_objectives import (
    A2CLoss,
    ClipPPOLoss,
    KLPENPPOLoss,
    LossModule,
    PPOLoss,
    ReinforceLoss,
    TDLambdaEstimator,
    ValueEstimators,
    default_value_kwargs,
)
from rl_objectives.functional import generalized_advantage_estimate
from rl_specs import MissingKeyError, ShapeError

Make = Callable[..., Any]
ALL: list[Any] = [ClipPPOLoss, KLPENPPOLoss, PPOLoss, A2CLoss, ReinforceLoss]
WITH_ENTROPY: list[Any] = [ClipPPOLoss, KLPENPPOLoss, PPOLoss, A2CLoss]


def reached(loss: Tensor, groups: dict[str, list[nn.Parameter]]) -> set[str]:
    """Names of the parameter groups that the gradient of `loss` reaches."""
    found = set()
    for name, parameters in groups.items():
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        if any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients):
            found.add(name)
    return found


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("separate_losses", [False, True])
@pytest.mark.parametrize("is_shared", [False, True])
def test_each_term_trains_its_parameters(
    cls: Any, separate_losses: bool, is_shared: bool, make_actor: Make, make_critic: Make, make_batch: Make
) -> None:
    """The policy's and entropy's terms reach actor and trunk; the critic's reaches the critic, and a shared trunk
    unless `separate_losses`."""
    trunks = [nn.Sequential(nn.Linear(3, 8), nn.Tanh()) for _ in range(2)]
    actor_trunk, critic_trunk = trunks[0], trunks[0 if is_shared else 1]
    actor, critic = make_actor(actor_trunk), make_critic(critic_trunk)
    groups = {
        "actor": list(actor[0].module[1].parameters()),
        "actor trunk": list(actor_trunk.parameters()),
        "critic": list(critic.module[1].parameters()),
    }
    if not is_shared:
        groups["critic trunk"] = list(critic_trunk.parameters())
    out = cls(actor, critic, separate_losses=separate_losses)(make_batch(actor, 16))
    policy = {"actor", "actor trunk"}
    value = {"critic"}
    if not is_shared:
        value.add("critic trunk")
    elif not separate_losses:
        value.add("actor trunk")
    expected = {
        "loss_objective": policy,
        "loss_actor": policy,
        "loss_entropy": policy,
        "loss_critic": value,
        "loss_value": value,
    }
    terms = [key for key in list(out.keys()) if key.startswith("loss_")]
    assert len(terms) in (2, 3)
    for key in terms:
        assert reached(out[key], groups) == expected[key], key
    assert not any(value.requires_grad for key, value in out.items() if not key.startswith("loss_"))


@pytest.mark.parametrize("cls", ALL)
def test_building_and_calling_changes_nothing(cls: Any, make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """Networks keep their very parameters, values, mode and gradients; the batch keeps its entries."""
    actor, critic = make_actor(), make_critic()
    batch = make_batch(actor, 16)
    kept = batch.clone()
    before = {name: (parameter, parameter.clone()) for name, parameter in actor.named_parameters()}
    loss = cls(actor, critic)
    loss.eval()
    loss(batch)
    assert actor.training
    for name, parameter in actor.named_parameters():
        assert parameter is before[name][0]
        assert torch.equal(parameter, before[name][1])
        assert parameter.requires_grad
        assert parameter.grad is None
    assert set(batch.keys(True, True)) == set(kept.keys(True, True))
    assert (batch == kept).all()
    parameters = list(loss.parameters())
    assert len(parameters) == len({id(parameter) for parameter in parameters}) == 4
    assert {id(p) for p in parameters} == {id(p) for p in [*actor.parameters(), *critic.parameters()]}
    assert loss.actor_network is actor
    assert loss.critic_network is critic
    assert "actor_network_params.module.0.module.0.weight" in loss.state_dict()


@pytest.mark.parametrize("cls", ALL)
def test_declares_what_it_reads_and_writes(cls: Any, make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """A batch with nothing but `in_keys` suffices, each of them is needed, and `out_keys` are what comes out."""
    actor = make_actor()
    loss = cls(actor, make_critic())
    batch = make_batch(actor, 16)
    needed = list(loss.in_keys) + (["loc", "scale"] if cls is KLPENPPOLoss else [])
    assert set(loss(batch.select(*needed)).keys()) == set(loss.out_keys)
    for key in needed:
        with pytest.raises(MissingKeyError, match=str(key)):
            loss(batch.select(*needed).exclude(key))


@pytest.mark.parametrize("cls", ALL)
def test_estimates_a_missing_advantage(cls: Any, make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """Without an advantage the default estimator, GAE, makes one, without a gradient into the critic."""
    actor, critic = make_actor(), make_critic()
    batch = make_batch(actor, 4, 6, estimates=False)
    loss = cls(actor, critic)
    with torch.no_grad():
        value = critic(batch.select("observation"))["state_value"]
        next_value = critic(batch["next"].select("observation"))["state_value"]
    flags = {key: batch["next", key] for key in ("reward", "done", "terminated")}
    advantage, target = generalized_advantage_estimate(0.99, 0.95, value, next_value, **flags)
    given = batch.clone().update({"advantage": advantage, "value_target": target})
    found, expected = loss(batch), cls(actor, critic)(given)
    for key in loss.out_keys:
        torch.testing.assert_close(found[key], expected[key])
    assert "advantage" not in set(batch.keys())
    assert default_value_kwargs(ValueEstimators.GAE) == {"gamma": 0.99, "lmbda": 0.95}


def test_estimator_can_be_chosen(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """`make_value_estimator` takes a kind and hyperparameters, and follows `set_keys`; wrong names are refused."""
    actor = make_actor()
    loss = ClipPPOLoss(actor, make_critic())
    loss.set_keys(advantage="gae_advantage", value="state_value")
    loss.make_value_estimator(ValueEstimators.TDLambda, gamma=0.9, lmbda=0.5)
    assert isinstance(loss.value_estimator, TDLambdaEstimator)
    assert loss.value_estimator.gamma == 0.9
    assert loss.value_estimator.tensor_keys.advantage == "gae_advantage"
    for kind in ValueEstimators:
        loss.make_value_estimator(kind)
        loss(make_batch(actor, 3, 5, estimates=False))
    with pytest.raises(TypeError, match="Did you mean gamma"):
        loss.make_value_estimator(ValueEstimators.GAE, gama=0.9)
    with pytest.raises(ValueError, match="unknown value estimator"):
        loss.make_value_estimator("GAE")  # type: ignore[arg-type]  # the error is what is tested


def test_keys_can_be_renamed(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """A loss reads where `set_keys` says; an unknown role is refused with the near one."""
    actor, critic = make_actor(), make_critic()
    batch = make_batch(actor, 16)
    expected = ClipPPOLoss(actor, critic)(batch)["loss_objective"]
    batch.rename_key_("advantage", "a").rename_key_("sample_log_prob", ("old", "lp"))
    loss = ClipPPOLoss(actor, critic)
    loss.set_keys(advantage="a", sample_log_prob=("old", "lp"))
    torch.testing.assert_close(loss(batch)["loss_objective"], expected)
    assert {"a", ("old", "lp")} <= set(loss.in_keys)
    with pytest.raises(KeyError, match="Did you mean advantage"):
        loss.set_keys(advantge="a")


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("key", ["advantage", "value_target"])
def test_flat_estimates_are_refused(cls: Any, key: str, make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """A `[B]` estimate where `[B, 1]` is expected is an error, never a `[B, B]` loss."""
    actor = make_actor()
    batch = make_batch(actor, 16)
    batch[key] = batch[key].squeeze(-1)
    with pytest.raises(ShapeError):
        cls(actor, make_critic())(batch)


def test_distribution_that_does_not_sum_is_refused(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """A log-probability per entry of the action is an error that says what to do."""
    actor = make_actor(None, torch.distributions.Normal)
    batch = make_batch(make_actor(), 16)
    with pytest.raises(ShapeError, match="Independent"):
        ClipPPOLoss(actor, make_critic())(batch)


def test_forward_is_deterministic_exploration(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """Inside a call the interaction type is DETERMINISTIC, whatever it is outside."""
    seen = []
    critic = make_critic()
    critic.module.register_forward_hook(lambda *_: seen.append(interaction_type()))
    actor = make_actor()
    ClipPPOLoss(actor, critic)(make_batch(actor, 4))
    assert seen == [InteractionType.DETERMINISTIC]
    assert interaction_type() is None


def test_replaced_parameters_are_used(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """Parameters put into the loss from outside are computed with, and differentiated through."""
    actor = make_actor()
    loss = ClipPPOLoss(actor, make_critic())
    batch = make_batch(actor, 16)
    plain = loss(batch)["loss_critic"]
    other = TensorDict.from_module(loss).data.clone()
    weight = other["critic_network_params", "module", "0", "weight"]
    weight.add_(1.0).requires_grad_()
    with other.to_module(loss):
        replaced = loss(batch)["loss_critic"]
    assert not torch.allclose(replaced, plain)
    assert torch.autograd.grad(replaced, weight)[0].abs().sum() > 0
    torch.testing.assert_close(loss(batch)["loss_critic"], plain)


@pytest.mark.parametrize("cls", WITH_ENTROPY)
def test_state_round_trip_and_copies(cls: Any, make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """Coefficients and parameters survive `state_dict`; a deep copy trains its own networks."""
    actor = make_actor()
    loss = cls(actor, make_critic())
    loss.entropy_coeff = 0.5
    batch = make_batch(actor, 16)
    expected = loss(batch)["loss_entropy"]
    other = cls(make_actor(), make_critic())
    other.load_state_dict(loss.state_dict())
    torch.testing.assert_close(other.entropy_coeff, torch.tensor(0.5))
    torch.testing.assert_close(other(batch)["loss_entropy"], expected)
    twin = copy.deepcopy(loss)
    assert {id(p) for p in twin.parameters()}.isdisjoint(id(p) for p in loss.parameters())
    assert {id(p) for p in twin.parameters()} >= {id(p) for p in twin.actor_network.parameters()}
    torch.testing.assert_close(twin(batch)["loss_entropy"], expected)


def test_conversion_reaches_the_networks(make_actor: Make) -> None:
    """`loss.double()` converts the networks, buffers included, and keeps one set of parameters."""
    critic = TensorDictModule(
        nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)), ["observation"], ["state_value"]
    )
    loss = ClipPPOLoss(make_actor(), critic).double()
    running = dict(critic.named_buffers())["module.1.running_mean"]
    assert running.dtype == torch.float64
    assert {id(p) for p in critic.parameters()} <= {id(p) for p in loss.parameters()}
    assert loss.critic_network_params["module", "1", "running_mean"].data_ptr() == running.data_ptr()


@pytest.mark.parametrize("distribution", [TanhNormal, IndependentNormal])
def test_with_the_actors_of_rl_modules(distribution: Any, make_batch: Make) -> None:
    """Actors and critics of the layer below train, entropy in closed form or by sampling."""
    trunk = SafeModule(nn.Sequential(nn.Linear(3, 8), nn.Tanh()), in_keys=["observation"], out_keys=["hidden"])
    body = SafeModule(
        nn.Sequential(nn.Linear(8, 4), NormalParamExtractor()), in_keys=["hidden"], out_keys=["loc", "scale"]
    )
    head = ProbabilisticActor(body, in_keys=["loc", "scale"], distribution_class=distribution, return_log_prob=True)
    both = ActorValueOperator(trunk, head, ValueOperator(nn.Linear(8, 1), in_keys=["hidden"]))
    actor, critic = both.get_policy_operator(), both.get_value_operator()
    batch = make_batch(actor, 32)
    for cls in ALL:
        out = cls(actor, critic)(batch)
        total = sum(value for key, value in out.items() if key.startswith("loss_"))
        torch.autograd.backward(total)
        assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in both.parameters())


def test_sampled_entropy_approaches_the_closed_form(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """The average of `-log p` over draws is the entropy where both exist."""

    class Opaque(torch.distributions.Independent):  # type: ignore[type-arg]  # not generic when run
        def entropy(self) -> Tensor:
            raise NotImplementedError

    def opaque(loc: Tensor, scale: Tensor) -> Opaque:
        return Opaque(torch.distributions.Normal(loc, scale), 1)

    actor = make_actor()
    sampled = make_actor(None, opaque)
    sampled.load_state_dict(actor.state_dict())
    batch = make_batch(actor, 64)
    expected = ClipPPOLoss(actor, make_critic())(batch)["entropy"]
    found = ClipPPOLoss(sampled, make_critic(), samples_mc_entropy=500)(batch)["entropy"]
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)


def test_wrong_choices_are_refused(make_actor: Make, make_critic: Make) -> None:
    """Choices that do not exist, two spellings at once, and a critic's loss without a critic."""
    actor, critic = make_actor(), make_critic()
    for cls in ALL:
        with pytest.raises(ValueError, match="smooth_l1"):
            cls(actor, critic, loss_critic_type="smooth_l2")
        with pytest.raises(ValueError, match="reduction"):
            cls(actor, critic, reduction="avg")
    for cls in WITH_ENTROPY:
        with pytest.raises(TypeError, match="both entropy_coeff and entropy_coef"):
            cls(actor, critic, entropy_coeff=0.01, entropy_coef=0.01)
        with pytest.raises(TypeError, match="both critic_coeff and critic_coef"):
            cls(actor, critic, critic_coeff=1.0, critic_coef=1.0)
        with pytest.raises(ValueError, match="critic_network is None"):
            cls(actor)
        assert float(cls(actor, critic, entropy_coef=0.25).entropy_coeff) == 0.25
        assert float(cls(actor, critic, critic_coef=0.25).critic_coeff) == 0.25
        assert cls(actor, critic, critic_coef=None).critic_coeff is None
    assert issubclass(ReinforceLoss, LossModule)
