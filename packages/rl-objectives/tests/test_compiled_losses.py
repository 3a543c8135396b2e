"""Losses and the value estimator under `torch.compile`, as one graph."""

from typing import Any

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import AddStateIndependentNormalScale, TensorDictModule
from torch import nn

from rl_modules import Categorical, IndependentNormal, OneHotCategorical, ProbabilisticActor, TanhNormal, ValueOperator
from rl_objectives import A2CLoss, ClipPPOLoss, KLPENPPOLoss, PPOLoss, ReinforceLoss
from rl_objectives.value import GAE

OBSERVATIONS, ACTIONS = 3, 2
NORMALS: tuple[Any, ...] = (TanhNormal, IndependentNormal)
LOSSES: tuple[Any, ...] = (ClipPPOLoss, PPOLoss, KLPENPPOLoss, A2CLoss, ReinforceLoss)


def build_actor(distribution: Any) -> ProbabilisticActor:
    """Policy with a random scale or with logits, by the kind of distribution."""
    head: list[nn.Module] = [nn.Linear(OBSERVATIONS, ACTIONS)]
    keys = ["logits"]
    if distribution in NORMALS:
        head.append(AddStateIndependentNormalScale(ACTIONS))
        keys = ["loc", "scale"]
    return ProbabilisticActor(
        TensorDictModule(nn.Sequential(*head), ["observation"], keys),
        keys,
        distribution_class=distribution,
        return_log_prob=True,
    )


def build_batch(actor: ProbabilisticActor, *shape: int) -> TensorDict:
    """Consistent rows with estimates, and old log-probabilities that differ from the present ones."""
    data = TensorDict({"observation": torch.randn(*shape, OBSERVATIONS)}, shape)
    data["next", "observation"] = torch.randn(*shape, OBSERVATIONS)
    data["next", "reward"] = torch.randn(*shape, 1)
    data["next", "done"] = data["next", "terminated"] = torch.rand(*shape, 1) < 0.1
    with torch.no_grad():
        actor(data)
    for key in ("advantage", "value_target", "state_value"):
        data[key] = torch.randn(*shape, 1)
    data["sample_log_prob"] = data["sample_log_prob"] + 0.3 * torch.randn(shape)
    return data


CASES: list[Any] = [(cls, TanhNormal, {}) for cls in LOSSES]
CASES += [(ClipPPOLoss, IndependentNormal, {"normalize_advantage": True, "loss_critic_type": "l2"})]
CASES += [(ClipPPOLoss, Categorical, {"clip_epsilon": (0.1, 0.3), "samples_mc_entropy": 2})]
CASES += [(ClipPPOLoss, OneHotCategorical, {"clip_value": 0.2, "normalize_advantage": True})]


@pytest.mark.parametrize(("cls", "distribution", "options"), CASES)
def test_losses_and_gradients_are_those_of_eager_mode(cls: Any, distribution: Any, options: dict[str, Any]) -> None:
    """Compiled without a break, every loss gives eager mode's outputs and gradients, sampled entropy included."""
    torch.manual_seed(0)
    torch.compiler.reset()
    actor = build_actor(distribution)
    critic = ValueOperator(nn.Linear(OBSERVATIONS, 1), in_keys=["observation"])
    batch = build_batch(actor, 16)
    loss = cls(actor, critic, **options)
    compiled: Any = torch.compile(loss, fullgraph=True, backend="eager")
    found = []
    for call in (loss, compiled):
        torch.manual_seed(1)
        loss.zero_grad()
        out = call(batch)
        torch.autograd.backward([value for key, value in out.items() if key.startswith("loss_")])
        gradients = {name: p.grad for name, p in loss.named_parameters() if p.grad is not None}
        found.append((dict(out.items()), {name: gradient.clone() for name, gradient in gradients.items()}))
        if cls is KLPENPPOLoss:
            loss.beta = 1.0  # the first call has changed it
    torch.testing.assert_close(found[1], found[0])
    assert len(found[0][1]) == len(list(loss.parameters()))


def test_the_value_estimator_is_that_of_eager_mode() -> None:
    """GAE with its value network, compiled without a break, gives eager mode's advantages and targets."""
    torch.manual_seed(0)
    torch.compiler.reset()
    critic = ValueOperator(nn.Linear(OBSERVATIONS, 1), in_keys=["observation"])
    gae = GAE(gamma=0.99, lmbda=0.95, value_network=critic, average_gae=True)
    batch = build_batch(build_actor(TanhNormal), 4, 7).exclude("advantage", "value_target", "state_value")
    compiled: Any = torch.compile(gae, fullgraph=True, backend="eager")
    with torch.no_grad():
        expected, found = gae(batch.clone()), compiled(batch.clone())
    for key in ("advantage", "value_target", "state_value"):
        torch.testing.assert_close(found[key], expected[key])
