"""What the reference of the policy-gradient losses promises: arguments, keys read and written, behaviour."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase, TensorDictParams
from tensordict.nn import (
    CompositeDistribution,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    set_composite_lp_aggregate,
)
from torch import Tensor, nn
from torch.distributions import Categorical

from rl_modules import (
    ActorValueOperator,
    ExplorationType,
    IndependentNormal,
    NormalParamExtractor,
    ProbabilisticActor,
    SafeModule,
    TanhNormal,
    ValueOperator,
    exploration_type,
    set_exploration_type,
)
from rl_objectives import A2CLoss, ClipPPOLoss, KLPENPPOLoss, LossModule, ReinforceLoss, ValueEstimators
from rl_objectives.common import LossModule as LossModuleFromCommon
from rl_objectives.utils import ValueEstimators as ValueEstimatorsFromUtils
from rl_objectives.value import GAE, TDLambdaEstimator, ValueEstimatorBase, VTrace
from rl_specs import Bounded

ACTIONS, FEATURES = 4, 3
PPO_LOSSES = [ClipPPOLoss, KLPENPPOLoss]


def make_actor() -> ProbabilisticActor:
    """A tanh-normal policy over four bounded actions."""
    torch.manual_seed(3)
    limit = torch.ones(ACTIONS)
    return ProbabilisticActor(
        module=SafeModule(
            nn.Sequential(nn.Linear(FEATURES, 2 * ACTIONS), NormalParamExtractor()),
            in_keys=["observation"],
            out_keys=["loc", "scale"],
        ),
        distribution_class=TanhNormal,
        in_keys=["loc", "scale"],
        spec=Bounded(-limit, limit, (ACTIONS,)),
        return_log_prob=True,
    )


def make_critic() -> ValueOperator:
    """A linear value of the observation."""
    torch.manual_seed(4)
    return ValueOperator(module=nn.Linear(FEATURES, 1), in_keys=["observation"])


def make_data(actor: ProbabilisticActor, shape: tuple[int, ...] = (5, 8)) -> TensorDict:
    """Random trajectories with the actions that `actor` draws in them; no advantage yet."""
    torch.manual_seed(5)
    data = TensorDict(
        {
            "observation": torch.randn(*shape, FEATURES),
            "next": {
                "observation": torch.randn(*shape, FEATURES),
                "reward": torch.randn(*shape, 1),
                "done": torch.zeros(*shape, 1, dtype=torch.bool),
                "terminated": torch.zeros(*shape, 1, dtype=torch.bool),
            },
        },
        batch_size=shape,
    )
    with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
        actor(data)
    return data


@pytest.fixture
def actor() -> ProbabilisticActor:
    """Policy."""
    return make_actor()


@pytest.fixture
def critic() -> ValueOperator:
    """Value."""
    return make_critic()


@pytest.fixture
def data(actor: ProbabilisticActor, critic: ValueOperator) -> TensorDict:
    """Trajectories with advantage and value target."""
    made = make_data(actor)
    GAE(gamma=0.99, lmbda=0.95, value_network=critic, differentiable=False)(made)
    return made


def keys_of(data: TensorDictBase) -> set[str]:
    """Names of the entries at the root."""
    return set(data.keys())


def drift(module: nn.Module, amount: float = 0.3) -> None:
    """Move the parameters, as training would."""
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * amount)


def gradients(module: nn.Module) -> list[Tensor]:
    """Gradients that are there and not zero."""
    return [p.grad for p in module.parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)]


# ------------------------------------------------------------------------------------------------ the base class


def test_the_module_paths_of_the_documents_lead_to_the_same_objects() -> None:
    """`common`, `utils` and `value` are modules of the distribution, as in the documents."""
    assert LossModuleFromCommon is LossModule
    assert ValueEstimatorsFromUtils is ValueEstimators
    assert all(issubclass(estimator, ValueEstimatorBase) for estimator in (GAE, TDLambdaEstimator, VTrace))


@pytest.mark.parametrize("loss_class", [ClipPPOLoss, KLPENPPOLoss, A2CLoss, ReinforceLoss])
def test_every_loss_is_a_loss_module_built_from_two_positional_networks(
    loss_class: Callable[..., LossModule], actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict
) -> None:
    """Actor and critic are the first two arguments; the losses come in a new TensorDict, scalars named `loss_*`."""
    loss = loss_class(actor, critic)
    before = set(data.keys(True, True))
    out = loss(data)
    assert isinstance(loss, LossModule)
    assert out is not data
    assert set(data.keys(True, True)) == before
    named = [key for key in keys_of(out) if key.startswith("loss_")]
    assert len(named) >= 2
    assert all(out[key].shape == torch.Size([]) for key in named)


def test_parameters_are_tensordict_params(actor: ProbabilisticActor, critic: ValueOperator) -> None:
    """Actor and critic parameters are held as `TensorDictParams`, and are the networks' own."""
    loss = ClipPPOLoss(actor, critic)
    assert isinstance(loss.actor_network_params, TensorDictParams)
    assert isinstance(loss.critic_network_params, TensorDictParams)
    held = {id(parameter) for parameter in loss.parameters()}
    assert held == {id(parameter) for module in (actor, critic) for parameter in module.parameters()}


def test_a_loss_can_be_computed_with_other_parameters(
    actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict
) -> None:
    """Parameters as a TensorDict can be swapped for a call, as meta-learning does."""
    loss = ClipPPOLoss(actor, critic)
    plain = loss(data)["loss_critic"]
    zeros = loss.critic_network_params.data.clone().zero_()
    with zeros.to_module(loss.critic_network_params):
        swapped = loss(data)["loss_critic"]
    assert not torch.allclose(plain, swapped)
    target = data["value_target"]
    assert torch.allclose(swapped, nn.functional.smooth_l1_loss(torch.zeros_like(target), target))
    assert torch.allclose(loss(data)["loss_critic"], plain)


def test_exploration_is_off_in_forward(actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict) -> None:
    """`forward` runs under deterministic exploration, whatever surrounds it."""
    seen: list[object] = []
    hook = critic.register_forward_pre_hook(lambda *_: seen.append(exploration_type()))
    with set_exploration_type(ExplorationType.RANDOM):
        ClipPPOLoss(actor, critic)(data)
    hook.remove()
    assert seen
    assert set(seen) == {ExplorationType.DETERMINISTIC}


def test_every_key_can_be_renamed(actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict) -> None:
    """`set_keys` takes the five names of the reference; the renamed loss gives the same numbers."""
    torch.manual_seed(0)
    expected = ClipPPOLoss(actor, critic)(data)
    names: dict[str, Any] = {
        "advantage": "gae_advantage",
        "value_target": "my_target",
        "value": "my_state_value",
        "sample_log_prob": "my_log_prob",
        "action": ("agent", "act"),
    }
    renamed = data.clone()
    for old, new in {**names, "state_value": names["value"]}.items():
        if old in keys_of(renamed):
            renamed.rename_key_(old, new)
    critic = ValueOperator(critic.module, in_keys=["observation"], out_keys=["my_state_value"])
    loss = ClipPPOLoss(actor, critic)
    loss.set_keys(**names)
    torch.manual_seed(0)
    out = loss(renamed)
    for key, value in expected.items():
        assert torch.allclose(out[key], value), key


def test_default_key_names(actor: ProbabilisticActor, critic: ValueOperator) -> None:
    """The table of input keys."""
    keys = ClipPPOLoss(actor, critic).tensor_keys
    assert (keys.advantage, keys.value_target, keys.value) == ("advantage", "value_target", "state_value")
    assert (keys.sample_log_prob, keys.action) == ("sample_log_prob", "action")


# ------------------------------------------------------------------------------------------------ value estimators


def test_advantage_is_computed_on_the_fly(actor: ProbabilisticActor, critic: ValueOperator) -> None:
    """Without `advantage` in its input the loss estimates it with GAE(0.99, 0.95), and leaves the input alone."""
    data = make_data(actor)
    torch.manual_seed(0)
    out = ClipPPOLoss(actor, critic)(data)
    assert "advantage" not in keys_of(data)
    GAE(gamma=0.99, lmbda=0.95, value_network=critic)(data)
    torch.manual_seed(0)
    expected = ClipPPOLoss(actor, critic)(data)
    for key, value in expected.items():
        assert torch.allclose(out[key], value), key


@pytest.mark.parametrize("renamed_first", [True, False])
def test_the_estimator_can_be_swapped(renamed_first: bool, actor: ProbabilisticActor, critic: ValueOperator) -> None:
    """`make_value_estimator(TDLambda, gamma=, lmbda=)` decides what is estimated, and follows `set_keys`."""
    data = make_data(actor)
    loss = ClipPPOLoss(actor, critic)
    if renamed_first:
        loss.set_keys(advantage="gae_advantage")
    loss.make_value_estimator(ValueEstimators.TDLambda, gamma=0.9, lmbda=0.8)
    if not renamed_first:
        loss.set_keys(advantage="gae_advantage")
    out = loss(data)
    reference = make_data(actor)
    TDLambdaEstimator(gamma=0.9, lmbda=0.8, value_network=critic)(reference)
    expected = ClipPPOLoss(actor, critic)(reference)
    assert torch.allclose(out["loss_objective"], expected["loss_objective"])
    assert torch.allclose(out["loss_critic"], expected["loss_critic"])
    assert not torch.allclose(out["loss_critic"], ClipPPOLoss(actor, critic)(make_data(actor))["loss_critic"])


def test_swapping_later_replaces_the_estimator_but_keeps_advantages_in_the_data(
    actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict
) -> None:
    """After the first forward the estimator may still change; an advantage that is stored is read as it is."""
    loss = ClipPPOLoss(actor, critic)
    first = loss(data)
    loss.make_value_estimator(ValueEstimators.TD0, gamma=0.5)
    assert torch.equal(loss(data)["loss_objective"], first["loss_objective"])
    fresh = make_data(actor)
    assert not torch.allclose(loss(fresh)["loss_objective"], first["loss_objective"])


@pytest.mark.parametrize("kind", list(ValueEstimators))
def test_every_kind_of_estimator_can_be_chosen(
    kind: ValueEstimators, actor: ProbabilisticActor, critic: ValueOperator
) -> None:
    """Each member of `ValueEstimators` works with its default hyperparameters."""
    loss = ClipPPOLoss(actor, critic)
    loss.make_value_estimator(kind)
    assert torch.isfinite(loss(make_data(actor))["loss_objective"])


def test_gae_writes_advantage_and_a_target_without_gradient(actor: ProbabilisticActor, critic: ValueOperator) -> None:
    """A stand-alone GAE updates the data in place and returns it."""
    data = make_data(actor)
    returned = GAE(gamma=0.99, lmbda=0.95, value_network=critic)(data)
    assert returned is data
    assert data["advantage"].shape == data["value_target"].shape == torch.Size([5, 8, 1])
    assert not data["advantage"].requires_grad
    assert not data["value_target"].requires_grad


# ------------------------------------------------------------------------------------------------ ClipPPOLoss


def test_clip_ppo_writes_the_documented_keys(
    actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict
) -> None:
    """The table of outputs of `ClipPPOLoss`."""
    loss = ClipPPOLoss(
        actor_network=actor,
        critic_network=critic,
        clip_epsilon=0.2,
        entropy_bonus=True,
        entropy_coeff=0.01,
        critic_coeff=1.0,
        loss_critic_type="smooth_l1",
        log_explained_variance=True,
    )
    out = loss(data)
    documented = {
        "loss_objective",
        "loss_critic",
        "loss_entropy",
        "entropy",
        "kl_approx",
        "clip_fraction",
        "explained_variance",
    }
    assert documented <= keys_of(out)
    assert documented - {"kl_approx"} <= set(loss.out_keys)
    assert all(not out[key].requires_grad for key in documented if not key.startswith("loss_"))
    assert all(out[key].requires_grad for key in documented if key.startswith("loss_"))


def test_clip_ppo_equation(actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict) -> None:
    """The objective is `-mean(min(r A, clip(r, 1 - eps, 1 + eps) A))`; monitors follow from the same ratio."""
    drift(actor)
    out = ClipPPOLoss(actor, critic, clip_epsilon=0.1)(data)
    log_ratio = (actor.get_dist(data.clone()).log_prob(data["action"]) - data["sample_log_prob"]).detach()
    ratio, advantage = log_ratio.exp(), data["advantage"].squeeze(-1)
    expected = -torch.minimum(ratio * advantage, ratio.clamp(0.9, 1.1) * advantage).mean()
    assert torch.allclose(out["loss_objective"], expected, atol=1e-6)
    is_outside = (ratio < 0.9) | (ratio > 1.1)
    assert 0 < is_outside.float().mean() < 1
    assert torch.allclose(out["clip_fraction"], is_outside.float().mean())
    assert torch.allclose(out["kl_approx"], -log_ratio.mean(), atol=1e-6)


def test_an_unchanged_policy_is_not_clipped(actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict) -> None:
    """Ratio 1: no clipping, no divergence, and the objective is minus the mean advantage."""
    out = ClipPPOLoss(actor, critic)(data)
    assert out["clip_fraction"].item() == 0
    assert out["kl_approx"].item() == pytest.approx(0, abs=1e-6)
    assert out["loss_objective"].item() == pytest.approx(-data["advantage"].mean().item(), abs=1e-5)


def test_asymmetric_clipping_has_two_schedulable_buffers(
    actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict
) -> None:
    """A pair clips to `[1 - low, 1 + high]` and is held in `clip_epsilon_low` and `clip_epsilon_high` alone."""
    drift(actor)
    loss = ClipPPOLoss(actor, critic, clip_epsilon=(0.05, 0.28))
    buffers = dict(loss.named_buffers())
    assert {"clip_epsilon_low", "clip_epsilon_high"} <= set(buffers)
    assert "clip_epsilon" not in buffers
    ratio = (actor.get_dist(data.clone()).log_prob(data["action"]) - data["sample_log_prob"]).exp().detach()
    advantage = data["advantage"].squeeze(-1)
    expected = -torch.minimum(ratio * advantage, ratio.clamp(0.95, 1.28) * advantage).mean()
    assert torch.allclose(loss(data)["loss_objective"], expected, atol=1e-6)
    before = loss(data)["clip_fraction"].item()
    loss.clip_epsilon_high.fill_(10.0)
    assert loss(data)["clip_fraction"].item() < before


def test_symmetric_clipping_has_one_schedulable_buffer(
    actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict
) -> None:
    """`clip_epsilon` is a buffer: part of the state, and a new value takes effect."""
    drift(actor)
    loss = ClipPPOLoss(actor, critic)
    assert loss.state_dict()["clip_epsilon"].item() == pytest.approx(0.2)
    assert loss(data)["clip_fraction"].item() > 0
    loss.clip_epsilon.fill_(1e6)
    assert loss(data)["clip_fraction"].item() == 0


@pytest.mark.parametrize("loss_class", [*PPO_LOSSES, A2CLoss])
@pytest.mark.parametrize("spelling", ["entropy_coeff", "entropy_coef"])
def test_both_spellings_of_the_entropy_coefficient(
    loss_class: Callable[..., LossModule],
    spelling: str,
    actor: ProbabilisticActor,
    critic: ValueOperator,
    data: TensorDict,
) -> None:
    """`entropy_coeff` and `entropy_coef` weigh the raw entropy, whose sign is turned to be minimised."""
    arguments: dict[str, Any] = {spelling: 0.125}
    torch.manual_seed(0)
    out = loss_class(actor, critic, **arguments)(data)
    assert torch.allclose(out["loss_entropy"], -0.125 * out["entropy"].mean())


@pytest.mark.parametrize("loss_class", [*PPO_LOSSES, A2CLoss])
@pytest.mark.parametrize("spelling", ["critic_coeff", "critic_coef"])
def test_both_spellings_of_the_critic_coefficient(
    loss_class: Callable[..., LossModule],
    spelling: str,
    actor: ProbabilisticActor,
    critic: ValueOperator,
    data: TensorDict,
) -> None:
    """`critic_coeff` and `critic_coef` weigh the critic's loss; None leaves it out of the outputs."""
    one = loss_class(actor, critic)(data)["loss_critic"]
    weighed: dict[str, Any] = {spelling: 0.25}
    assert torch.allclose(loss_class(actor, critic, **weighed)(data)["loss_critic"], 0.25 * one)
    without: dict[str, Any] = {spelling: None}
    loss = loss_class(actor, critic, **without)
    assert "loss_critic" not in keys_of(loss(data))
    assert "loss_critic" not in loss.out_keys
    assert "value_target" not in loss.in_keys


def test_defaults_are_those_of_the_reference(
    actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict
) -> None:
    """Clip 0.2, entropy 0.01, critic 1.0, smooth L1, mean, no normalisation: the same numbers when spelt out."""
    drift(actor)
    torch.manual_seed(0)
    implicit = ClipPPOLoss(actor, critic)(data)
    torch.manual_seed(0)
    explicit = ClipPPOLoss(
        actor,
        critic,
        clip_epsilon=0.2,
        entropy_bonus=True,
        entropy_coeff=0.01,
        critic_coeff=1.0,
        loss_critic_type="smooth_l1",
        normalize_advantage=False,
        clip_value=False,
        separate_losses=False,
        reduction="mean",
    )(data)
    assert keys_of(implicit) == keys_of(explicit)
    for key, value in explicit.items():
        assert torch.equal(implicit[key], value), key


def test_no_entropy_bonus_no_entropy_keys(actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict) -> None:
    """`entropy_bonus=False` leaves both entries out."""
    out = ClipPPOLoss(actor, critic, entropy_bonus=False)(data)
    assert not {"loss_entropy", "entropy"} & keys_of(out)


@pytest.mark.parametrize(
    ("kind", "distance"),
    [("l1", nn.functional.l1_loss), ("l2", nn.functional.mse_loss), ("smooth_l1", nn.functional.smooth_l1_loss)],
)
@pytest.mark.parametrize("loss_class", [ClipPPOLoss, KLPENPPOLoss, A2CLoss, ReinforceLoss])
def test_distances_of_the_value(
    kind: str,
    distance: Callable[[Tensor, Tensor], Tensor],
    loss_class: Callable[..., LossModule],
    actor: ProbabilisticActor,
    critic: ValueOperator,
    data: TensorDict,
) -> None:
    """The three choices of `loss_critic_type` are torch's losses of the same names."""
    drift(critic)
    out = loss_class(actor, critic, loss_critic_type=kind)(data)
    key = "loss_value" if loss_class is ReinforceLoss else "loss_critic"
    assert torch.allclose(out[key], distance(critic.module(data["observation"]), data["value_target"]))


def test_normalize_advantage_standardises_the_minibatch(
    actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict
) -> None:
    """Zero mean, unit deviation: an affine change of the advantages no longer matters."""
    drift(actor)
    loss = ClipPPOLoss(actor, critic, normalize_advantage=True)
    plain = loss(data)["loss_objective"]
    data["advantage"] = 7 * data["advantage"] + 3
    assert torch.allclose(loss(data)["loss_objective"], plain, atol=1e-5)


@pytest.mark.parametrize(("clip_value", "radius"), [(0.05, 0.05), (True, 0.2)])
def test_clip_value_limits_the_prediction(
    clip_value: float | bool, radius: float, actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict
) -> None:
    """Predictions further than the radius from the stored value cost at least as much; True takes `clip_epsilon`."""
    drift(critic, 1.0)
    out = ClipPPOLoss(actor, critic, clip_epsilon=0.2, clip_value=clip_value, loss_critic_type="l2")(data)
    new, old, target = critic.module(data["observation"]).detach(), data["state_value"], data["value_target"]
    clipped = old + (new - old).clamp(-radius, radius)
    expected = torch.maximum((new - target) ** 2, (clipped - target) ** 2).mean()
    assert torch.allclose(out["loss_critic"], expected)
    assert not torch.allclose(expected, ((new - target) ** 2).mean())


def test_clip_value_true_needs_a_scalar_epsilon(actor: ProbabilisticActor, critic: ValueOperator) -> None:
    """`clip_value=True` with a pair is refused, because there is no one radius."""
    with pytest.raises(ValueError, match="clip_value"):
        ClipPPOLoss(actor, critic, clip_epsilon=(0.2, 0.28), clip_value=True)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_reductions(reduction: Any, actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict) -> None:
    """`none` keeps the losses per step; `sum` and `mean` are its sum and mean."""
    drift(actor)
    torch.manual_seed(0)
    out = ClipPPOLoss(actor, critic, reduction=reduction)(data)
    torch.manual_seed(0)
    full = ClipPPOLoss(actor, critic, reduction="none")(data)
    for key in ("loss_objective", "loss_critic", "loss_entropy"):
        assert full[key].numel() == data.numel()
        expected = {"none": full[key], "mean": full[key].mean(), "sum": full[key].sum()}[reduction]
        assert torch.allclose(out[key], expected, rtol=1e-4), key


@pytest.mark.parametrize("is_separate", [False, True])
def test_separate_losses_keeps_the_critic_off_the_shared_trunk(is_separate: bool) -> None:
    """With `separate_losses=True` the critic's loss reaches its head alone, and the policy's loss the trunk."""
    trunk = TensorDictModule(nn.Linear(FEATURES, 6), in_keys=["observation"], out_keys=["hidden"])
    policy_head = ProbabilisticActor(
        SafeModule(
            nn.Sequential(nn.Linear(6, 2 * ACTIONS), NormalParamExtractor()),
            in_keys=["hidden"],
            out_keys=["loc", "scale"],
        ),
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        return_log_prob=True,
    )
    both = ActorValueOperator(trunk, policy_head, ValueOperator(nn.Linear(6, 1), in_keys=["hidden"]))
    actor, critic = both.get_policy_operator(), both.get_value_operator()
    data = make_data(actor)
    GAE(gamma=0.9, lmbda=0.9, value_network=critic)(data)
    loss = ClipPPOLoss(actor, critic, separate_losses=is_separate, entropy_bonus=False)
    loss(data)["loss_critic"].backward()
    assert bool(gradients(trunk)) is not is_separate
    assert len(gradients(both.get_value_head())) == 2
    assert not gradients(policy_head)
    loss(data)["loss_objective"].backward()
    assert gradients(trunk)


def make_two_headed_actor() -> ProbabilisticTensorDictSequential:
    """A policy with a continuous and a discrete head."""

    class Heads(nn.Module):
        """Parameters of both heads."""

        def __init__(self) -> None:
            super().__init__()
            self.continuous = nn.Linear(FEATURES, 2)
            self.discrete = nn.Linear(FEATURES, 3)

        def forward(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            """Location, scale and logits."""
            loc = self.continuous(observation)
            return loc, torch.full_like(loc, 0.5), self.discrete(observation)

    keys: list[Any] = [("params", "move", "loc"), ("params", "move", "scale"), ("params", "jump", "logits")]
    torch.manual_seed(2)
    return ProbabilisticActor(
        TensorDictModule(Heads(), in_keys=["observation"], out_keys=keys),
        in_keys=["params"],
        distribution_class=CompositeDistribution,
        distribution_kwargs={"distribution_map": {"move": IndependentNormal, "jump": Categorical}},
        return_log_prob=True,
    )


@pytest.mark.parametrize("is_aggregated", [True, False])
def test_entropy_coefficient_per_head(is_aggregated: bool, critic: ValueOperator) -> None:
    """A mapping weighs the entropy of each head of a composite action; a number weighs their sum.

    The loss finds the log-probability where the policy writes it: under one key, or under one for each head.
    """
    with set_composite_lp_aggregate(is_aggregated):
        actor = make_two_headed_actor()
        data = TensorDict({"observation": torch.randn(7, FEATURES)}, [7])
        with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
            actor(data)
        data["advantage"], data["value_target"] = torch.randn(7, 1), torch.randn(7, 1)
        out = ClipPPOLoss(actor, critic, entropy_coeff={"move": 0.5, "jump": 0.02})(data)
        together = ClipPPOLoss(actor, critic, entropy_coeff=0.1)(data)
    move = 2 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.5))
    logits = actor[0].module.discrete(data["observation"]).log_softmax(-1)
    jump = -(logits.exp() * logits).sum(-1).mean().item()
    assert ("sample_log_prob" in keys_of(data)) is is_aggregated
    assert out["kl_approx"].item() == pytest.approx(0, abs=1e-6)
    assert out["loss_entropy"].item() == pytest.approx(-(0.5 * move + 0.02 * jump), rel=1e-5)
    assert together["loss_entropy"].item() == pytest.approx(-0.1 * (move + jump), rel=1e-5)


@pytest.mark.parametrize("logged", [True, False])
def test_explained_variance(logged: bool, actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict) -> None:
    """`log_explained_variance` decides whether `1 - Var(target - value) / Var(target)` is reported."""
    out = ClipPPOLoss(actor, critic, log_explained_variance=logged)(data)
    if not logged:
        assert "explained_variance" not in keys_of(out)
        return
    residual = data["value_target"] - critic.module(data["observation"]).detach()
    expected = 1 - residual.var() / data["value_target"].var()
    assert torch.allclose(out["explained_variance"], expected, atol=1e-4)


def test_the_complete_example_trains_both_networks(actor: ProbabilisticActor, critic: ValueOperator) -> None:
    """Advantage, loss, sum of the three terms, backward, a step of an optimizer for each network."""
    data = make_data(actor)
    loss_module = ClipPPOLoss(actor_network=actor, critic_network=critic, clip_epsilon=0.2, entropy_coeff=0.01)
    GAE(gamma=0.99, lmbda=0.95, value_network=critic, differentiable=False)(data)
    optimizers = [torch.optim.Adam(actor.parameters(), lr=3e-4), torch.optim.Adam(critic.parameters(), lr=1e-3)]
    before = [parameter.clone() for parameter in loss_module.parameters()]
    out = loss_module(data)
    (out["loss_objective"] + out["loss_critic"] + out["loss_entropy"]).backward()
    for optimizer in optimizers:
        optimizer.step()
    assert all(not torch.equal(old, new) for old, new in zip(before, loss_module.parameters(), strict=True))


@pytest.mark.parametrize(("is_aggregated", "key"), [(True, "sample_log_prob"), (False, "action_log_prob")])
def test_the_log_probability_is_read_where_the_policy_writes_it(
    is_aggregated: bool, key: str, critic: ValueOperator
) -> None:
    """A plain `ProbabilisticTensorDictSequential` names it by the aggregation mode; the loss follows."""
    module = SafeModule(
        nn.Sequential(nn.Linear(FEATURES, 2 * ACTIONS), NormalParamExtractor()),
        in_keys=["observation"],
        out_keys=["loc", "scale"],
    )
    with set_composite_lp_aggregate(is_aggregated):
        actor = ProbabilisticTensorDictSequential(
            module,
            ProbabilisticTensorDictModule(
                in_keys=["loc", "scale"],
                out_keys=["action"],
                distribution_class=TanhNormal,
                return_log_prob=True,
            ),
        )
        data = TensorDict({"observation": torch.randn(6, FEATURES)}, [6])
        with torch.no_grad():
            actor(data)
        assert key in keys_of(data)
        data["advantage"], data["value_target"] = torch.randn(6, 1), torch.randn(6, 1)
        loss = ClipPPOLoss(actor, critic)
        assert key in loss.in_keys
        assert torch.isfinite(loss(data)["loss_objective"])


# ------------------------------------------------------------------------------------------------ KLPENPPOLoss


def test_kl_penalty_writes_the_documented_keys(
    actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict
) -> None:
    """The outputs of `ClipPPOLoss` that are named again, plus `kl`; every documented argument is taken."""
    loss = KLPENPPOLoss(
        actor_network=actor,
        critic_network=critic,
        dtarg=0.01,
        beta=1.0,
        increment=2.0,
        decrement=0.5,
        samples_mc_kl=2,
        entropy_bonus=True,
        entropy_coeff=0.01,
        critic_coeff=1.0,
    )
    out = loss(data)
    assert {"loss_objective", "loss_critic", "loss_entropy", "entropy", "kl"} <= keys_of(out)
    assert not out["kl"].requires_grad


def test_beta_follows_the_divergence(actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict) -> None:
    """`forward` lowers beta by `decrement` while the policy stands still, and raises it by `increment` after it ran."""
    loss = KLPENPPOLoss(actor, critic, beta=1.0, increment=3.0, decrement=0.25)
    loss(data)
    assert loss.beta.item() == pytest.approx(0.25)
    drift(actor, 1.0)
    out = loss(data)
    assert out["kl"].item() > 0.01
    assert loss.beta.item() == pytest.approx(0.75)
    loss(data)
    assert loss.beta.item() == pytest.approx(2.25)


def test_beta_is_a_buffer_that_can_be_set(actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict) -> None:
    """`loss.beta = 0.5` keeps it a buffer, of the state, and the penalty has that weight."""
    loss = KLPENPPOLoss(actor, critic, increment=1.0, decrement=1.0, entropy_bonus=False)
    drift(actor)
    objectives = {}
    for beta in (0.5, 1.5):
        loss.beta = beta  # type: ignore[assignment]  # a number is put into the buffer
        assert loss.state_dict()["beta"].item() == pytest.approx(beta)
        out = loss(data)
        objectives[beta] = out["loss_objective"].item()
    assert objectives[1.5] - objectives[0.5] == pytest.approx(out["kl"].item(), rel=1e-3)


@pytest.mark.parametrize(("name", "value"), [("increment", 0.9), ("decrement", 1.1)])
def test_factors_of_beta_have_bounds(name: str, value: float, actor: ProbabilisticActor, critic: ValueOperator) -> None:
    """`increment` below 1 and `decrement` above 1 are refused."""
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=name):
        KLPENPPOLoss(actor, critic, **arguments)


# ------------------------------------------------------------------------------------------------ A2C and REINFORCE


def test_a2c_is_the_policy_gradient_with_a_critic(
    actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict
) -> None:
    """`-mean(log pi(a|s) A)`, without an importance weight; the documented keys."""
    drift(actor)
    out = A2CLoss(
        actor_network=actor,
        critic_network=critic,
        entropy_bonus=True,
        entropy_coeff=0.01,
        critic_coeff=1.0,
        loss_critic_type="smooth_l1",
    )(data)
    assert {"loss_objective", "loss_critic", "loss_entropy", "entropy"} <= keys_of(out)
    log_prob = actor.get_dist(data.clone()).log_prob(data["action"])
    assert torch.allclose(out["loss_objective"], -(log_prob * data["advantage"].squeeze(-1)).mean(), atol=1e-5)


def test_a2c_without_critic_loss_needs_no_key_of_the_critic(actor: ProbabilisticActor) -> None:
    """`critic_coeff=None` decouples the inputs from the critic."""
    critic = ValueOperator(nn.Linear(2, 1), in_keys=["privileged"])
    loss = A2CLoss(actor, critic, critic_coeff=None)
    assert "privileged" not in loss.in_keys
    data = make_data(actor).select("observation", "action")
    data["advantage"] = torch.randn(5, 8, 1)
    assert "loss_critic" not in keys_of(loss(data))


def test_reinforce_writes_actor_and_value_losses(
    actor: ProbabilisticActor, critic: ValueOperator, data: TensorDict
) -> None:
    """`loss_actor` is `-mean(log pi(a|s) A)`; `loss_value` the baseline's."""
    drift(actor)
    out = ReinforceLoss(actor_network=actor, critic_network=critic, loss_critic_type="smooth_l1")(data)
    assert {"loss_actor", "loss_value"} <= keys_of(out)
    log_prob = actor.get_dist(data.clone()).log_prob(data["action"])
    assert torch.allclose(out["loss_actor"], -(log_prob * data["advantage"].squeeze(-1)).mean(), atol=1e-5)


def test_reinforce_works_without_a_baseline(actor: ProbabilisticActor) -> None:
    """The critic is optional; any advantage in the data is used."""
    data = make_data(actor)
    data["advantage"] = torch.randn(5, 8, 1)
    assert keys_of(ReinforceLoss(actor)(data)) == {"loss_actor"}


def test_delay_value_makes_a_target_of_the_critic(actor: ProbabilisticActor, critic: ValueOperator) -> None:
    """`delay_value=True` holds a copy of the critic's parameters that does not train and stays behind."""
    loss = ReinforceLoss(actor, critic, delay_value=True)
    data = make_data(actor)
    loss(data)["loss_value"].backward()
    target = loss.target_critic_network_params
    before = target.clone()
    drift(critic)
    assert (target == before).all()
    trained = {id(parameter) for parameter in loss.parameters() if parameter.requires_grad}
    assert not trained & {id(leaf) for leaf in target.values(True, True)}
