"""Tests of what is particular to each of the losses."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import (
    CompositeDistribution,
    NormalParamExtractor,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    TensorDictSequential,
)
from torch import Tensor, nn

from rl_objectives import ClipPPOLoss, KLPENPPOLoss, ReinforceLoss
from rl_objectives.functional import (
    clipped_surrogate,
    clipped_value_loss,
    effective_sample_size,
    explained_variance,
    kl_estimate_k1,
    kl_estimate_k3,
    standardize,
    value_distance,
)

Make = Callable[..., Any]


def column(*values: float) -> Tensor:
    """`[B, 1]` tensor."""
    return torch.tensor(values).unsqueeze(-1)


def test_clipped_surrogate_by_hand() -> None:
    """Ratios 0.5, 1, 2 in [0.8, 1.3], for both signs of the advantage."""
    log_ratio = column(0.5, 1.0, 2.0).log()
    loss, is_clipped = clipped_surrogate(log_ratio, column(1.0, 1.0, 1.0), 0.2, 0.3)
    torch.testing.assert_close(loss, column(-0.5, -1.0, -1.3))
    assert is_clipped.flatten().tolist() == [True, False, True]
    loss, _ = clipped_surrogate(log_ratio, column(-1.0, -1.0, -1.0), 0.2, 0.3)
    torch.testing.assert_close(loss, column(0.8, 1.0, 2.0))


def test_gradient_of_the_clipped_surrogate() -> None:
    """It is that of the smaller of the two terms: zero beyond the interval on the side that the advantage favours."""
    ratios = (0.5, 0.8, 0.9, 1.0, 1.1, 1.3, 2.0)
    for sign in (1.0, -1.0):
        log_ratio = column(*ratios).log().requires_grad_()
        advantage = torch.full_like(log_ratio, 3.0 * sign)
        loss, _ = clipped_surrogate(log_ratio, advantage, torch.tensor(0.25), torch.tensor(0.5))
        gradient = torch.autograd.grad(loss.sum(), log_ratio)[0]
        is_held = [r > 1.5 if sign > 0 else r < 0.75 for r in ratios]
        expected = [0.0 if held else -3.0 * sign * r for r, held in zip(ratios, is_held, strict=True)]
        torch.testing.assert_close(gradient, column(*expected))


def test_value_distances_by_hand() -> None:
    """Distances 0.5 and 2, and the clipped form, which is the larger of two."""
    value, target = column(0.5, 2.0), column(0.0, 0.0)
    torch.testing.assert_close(value_distance(value, target, "l1"), column(0.5, 2.0))
    torch.testing.assert_close(value_distance(value, target, "l2"), column(0.25, 4.0))
    torch.testing.assert_close(value_distance(value, target, "smooth_l1"), column(0.125, 1.5))
    assert value_distance(value, target, "l2", reduction="mean").item() == pytest.approx(2.125)
    assert value_distance(value, target, "l1", reduction="sum").item() == pytest.approx(2.5)
    torch.testing.assert_close(value_distance(value, target, "l1", reduction="none"), torch.tensor([0.5, 2.0]))
    loss, is_clipped = clipped_value_loss(value, column(0.45, 3.0), target, clip=0.1, kind="l1")
    torch.testing.assert_close(loss, column(0.5, 2.9))
    assert is_clipped.flatten().tolist() == [False, True]


def test_monitors_by_hand() -> None:
    """Divergence estimates, effective share and explained variance of two samples."""
    log_ratio = column(1.0, 3.0).log()
    torch.testing.assert_close(kl_estimate_k1(log_ratio).exp(), column(1.0, 1 / 3))
    torch.testing.assert_close(kl_estimate_k3(log_ratio), column(0.0, 2.0) - log_ratio)
    torch.testing.assert_close(effective_sample_size(log_ratio), torch.tensor(16 / (2 * 10)))
    torch.testing.assert_close(explained_variance(column(0.0, 1.0), column(0.0, 2.0)), torch.tensor(0.75))
    assert float(explained_variance(column(0.0, 1.0), column(2.0, 2.0))) == 0.0


def test_standardize() -> None:
    """Mean 0 and deviation 1, over all or slice by slice; a single element becomes 0."""
    value = torch.randn(5, 3, 1)
    torch.testing.assert_close(standardize(value), (value - value.mean()) / value.std())
    by_slice = standardize(value, exclude_dims=(-2,))
    torch.testing.assert_close(by_slice, (value - value.mean(0)) / value.std(0))
    assert float(standardize(torch.tensor([3.0]))) == 0.0
    assert (standardize(value, exclude_dims=(0, 1, 2)) == 0).all()


def test_asymmetric_clip_has_two_buffers(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """A pair is exposed as two buffers that can be scheduled; a number as one."""
    actor = make_actor()
    loss = ClipPPOLoss(actor, make_critic(), clip_epsilon=(0.2, 0.28))
    assert {"clip_epsilon_low", "clip_epsilon_high"} <= set(dict(loss.named_buffers()))
    assert "clip_epsilon" not in dict(loss.named_buffers())
    batch = make_batch(actor, 32)
    before = loss(batch)["loss_objective"]
    loss.clip_epsilon_high = 0.0  # type: ignore[assignment]  # numbers are written into the buffer
    assert float(loss.clip_epsilon_high) == 0.0
    assert loss(batch)["loss_objective"].item() > before.item()
    symmetric = ClipPPOLoss(actor, make_critic(), clip_epsilon=0.1)
    torch.testing.assert_close(symmetric.clip_epsilon, torch.tensor(0.1))


def test_wrong_clips_are_refused(make_actor: Make, make_critic: Make) -> None:
    """Radii out of range, and `clip_value=True` where there is no single radius."""
    with pytest.raises(ValueError, match="clip_epsilon"):
        ClipPPOLoss(make_actor(), make_critic(), clip_epsilon=1.5)
    with pytest.raises(ValueError, match="scalar clip_epsilon"):
        ClipPPOLoss(make_actor(), make_critic(), clip_epsilon=(0.1, 0.2), clip_value=True)
    with pytest.raises(ValueError, match="scalar clip_epsilon"):
        KLPENPPOLoss(make_actor(), make_critic(), clip_value=True)
    reused = ClipPPOLoss(make_actor(), make_critic(), clip_epsilon=0.3, clip_value=True).clip_value
    torch.testing.assert_close(reused, torch.tensor(0.3))


def test_no_critic_coefficient_leaves_the_critic_out(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """`critic_coeff=None` drops the critic's outputs and inputs, with a critic and without."""
    actor = make_actor()
    batch = make_batch(actor, 16).exclude("value_target")
    for critic in (make_critic(), None):
        loss = ClipPPOLoss(actor, critic, critic_coeff=None)
        out = loss(batch)
        assert "loss_critic" not in set(out.keys())
        assert "explained_variance" not in set(out.keys())
        assert "value_target" not in loss.in_keys


def test_reductions(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """`none` gives one loss per sample, whose mean and sum are the other two."""
    actor, critic = make_actor(), make_critic()
    batch = make_batch(actor, 16)
    none, mean, total = (ClipPPOLoss(actor, critic, reduction=r)(batch) for r in ("none", "mean", "sum"))
    for key in ("loss_objective", "loss_critic", "loss_entropy"):
        assert none[key].shape == (16,)
        torch.testing.assert_close(none[key].mean(), mean[key])
        torch.testing.assert_close(none[key].sum(), total[key])
    torch.testing.assert_close(none["entropy"], mean["entropy"])


def test_beta_follows_the_divergence(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """Above the target beta grows, below it shrinks, and the loss of the call uses the beta before it."""
    actor, critic = make_actor(), make_critic()
    batch = make_batch(actor, 16)
    batch["loc"] = batch["loc"] + 0.5
    high = KLPENPPOLoss(actor, critic, dtarg=1e-4, beta=0.5, increment=3.0)
    out = high(batch)
    torch.testing.assert_close(high.beta, torch.tensor(1.5))
    objective = high(batch)["loss_objective"] - out["loss_objective"]
    torch.testing.assert_close(objective, 1.0 * out["kl"])
    low = KLPENPPOLoss(actor, critic, dtarg=100.0, beta=0.5, decrement=0.1)
    low(batch)
    torch.testing.assert_close(low.beta, torch.tensor(0.05))
    low.beta = 0.7  # type: ignore[assignment]  # numbers are written into the buffer
    torch.testing.assert_close(low.state_dict()["beta"], torch.tensor(0.7))
    with pytest.raises(ValueError, match="increment"):
        KLPENPPOLoss(actor, critic, increment=0.5)


def test_sampled_divergence_approaches_the_closed_form(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """A distribution without a registered divergence is sampled."""

    class Opaque(torch.distributions.Distribution):
        def __init__(self, loc: Tensor, scale: Tensor) -> None:
            self._inner = torch.distributions.Independent(torch.distributions.Normal(loc, scale), 1)
            super().__init__(self._inner.batch_shape, self._inner.event_shape, validate_args=False)

        def sample(self, sample_shape: Any = ()) -> Tensor:
            return self._inner.sample(sample_shape)

        def log_prob(self, value: Tensor) -> Tensor:
            result: Tensor = self._inner.log_prob(value)  # type: ignore[no-untyped-call]  # torch does not annotate it
            return result

        def entropy(self) -> Tensor:
            result: Tensor = self._inner.entropy()  # type: ignore[no-untyped-call]  # torch does not annotate it
            return result

    actor = make_actor()
    sampled = make_actor(None, Opaque)
    sampled.load_state_dict(actor.state_dict())
    batch = make_batch(actor, 64)
    batch["loc"] = batch["loc"] + 0.5
    expected = KLPENPPOLoss(actor, make_critic())(batch)["kl"]
    found = KLPENPPOLoss(sampled, make_critic(), samples_mc_kl=1000)(batch)["kl"]
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0.05)


def test_delayed_value_estimates_with_the_target(make_actor: Make, make_critic: Make, make_batch: Make) -> None:
    """With `delay_value` next values come from the target copy, so moving the critic alone moves root values alone."""
    actor, critic = make_actor(), make_critic()
    loss = ReinforceLoss(actor, critic, delay_value=True)
    batch = make_batch(actor, 2, 6, estimates=False)
    assert loss.value_estimator is not None
    target = loss.target_critic_network_params
    before = loss.value_estimator(batch.clone(), target_params=target)["next", "state_value"]
    first = loss(batch)["loss_actor"]
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.add_(1.0)
    after = loss.value_estimator(batch.clone(), target_params=target)["next", "state_value"]
    torch.testing.assert_close(after, before)
    assert not torch.allclose(loss(batch)["loss_actor"], first)


def test_reinforce_without_a_critic(make_actor: Make, make_batch: Make) -> None:
    """There is no `loss_value`, and a batch without an advantage is an error."""
    actor = make_actor()
    loss = ReinforceLoss(actor)
    batch = make_batch(actor, 16)
    assert list(loss(batch).keys()) == ["loss_actor"]
    with pytest.raises(KeyError, match="advantage"):
        loss(batch.exclude("advantage"))


@pytest.fixture
def composite() -> Any:
    """Policy with a continuous and a discrete head."""
    return ProbabilisticTensorDictSequential(
        TensorDictSequential(
            TensorDictModule(
                nn.Sequential(nn.Linear(3, 4), NormalParamExtractor()),
                ["observation"],
                [("params", "move", "loc"), ("params", "move", "scale")],
            ),
            TensorDictModule(nn.Linear(3, 5), ["observation"], [("params", "turn", "logits")]),
        ),
        ProbabilisticTensorDictModule(
            ["params"],
            ["move", "turn"],
            distribution_class=CompositeDistribution,
            distribution_kwargs={
                "distribution_map": {
                    "move": lambda loc, scale: torch.distributions.Independent(
                        torch.distributions.Normal(loc, scale), 1
                    ),
                    "turn": torch.distributions.Categorical,
                }
            },
            return_log_prob=True,
        ),
    )


def test_composite_heads(composite: Any, make_critic: Make) -> None:
    """Log-probabilities of the heads are summed, and each head's entropy has its own coefficient."""
    batch = TensorDict({"observation": torch.randn(16, 3)}, [16])
    with torch.no_grad():
        composite(batch)
    keys = ["move_log_prob", "turn_log_prob"]
    batch["advantage"], batch["value_target"] = torch.randn(16, 1), torch.randn(16, 1)
    loss = ClipPPOLoss(composite, make_critic(), entropy_coeff={"move": 0.1, "turn": 0.4})
    loss.set_keys(sample_log_prob=keys)
    out = loss(batch)
    dist = composite.get_dist(batch.copy())
    heads = {name: dist.dists[name].entropy().mean() for name in ("move", "turn")}
    torch.testing.assert_close(out["kl_approx"], torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(out["entropy"], (heads["move"] + heads["turn"]).detach())
    torch.testing.assert_close(out["loss_entropy"], -(0.1 * heads["move"] + 0.4 * heads["turn"]))
    torch.testing.assert_close(out["entropy_turn"], heads["turn"].detach())
    batch["move_log_prob"] = batch["move_log_prob"] + 0.5
    batch["turn_log_prob"] = batch["turn_log_prob"] + 0.25
    torch.testing.assert_close(loss(batch)["kl_approx"], torch.tensor(0.75))
    wrong = ClipPPOLoss(composite, make_critic(), entropy_coeff={"move": 0.1})
    wrong.set_keys(sample_log_prob=keys)
    with pytest.raises(KeyError, match="turn"):
        wrong(batch)


def test_log_probability_is_read_where_the_policy_writes_it(composite: Any, make_critic: Make) -> None:
    """Without `set_keys` the loss knows the policy's entries, one for each head; `set_keys` still decides."""
    loss = ClipPPOLoss(composite, make_critic())
    assert loss.tensor_keys.sample_log_prob == ["move_log_prob", "turn_log_prob"]
    assert {"move_log_prob", "turn_log_prob"} < set(loss.in_keys)
    loss.set_keys(sample_log_prob="mine")
    assert "mine" in loss.in_keys


def test_composite_divergence(composite: Any, make_critic: Make) -> None:
    """The divergence of a composite is the sum over its heads; that of a policy from itself is zero."""
    batch = TensorDict({"observation": torch.randn(16, 3)}, [16])
    with torch.no_grad():
        composite(batch)
    batch["advantage"], batch["value_target"] = torch.randn(16, 1), torch.randn(16, 1)
    loss = KLPENPPOLoss(composite, make_critic())
    loss.set_keys(sample_log_prob=["move_log_prob", "turn_log_prob"])
    torch.testing.assert_close(loss(batch)["kl"], torch.tensor(0.0), atol=1e-6, rtol=0)
    batch["params", "move", "loc"] = batch["params", "move", "loc"] + 1.0
    expected = (1 / batch["params", "move", "scale"].square() / 2).sum(-1).mean()
    torch.testing.assert_close(loss(batch)["kl"], expected)
