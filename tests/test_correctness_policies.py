"""Policies between collector, environment and loss: what was sampled is what is learnt from."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

from rl_collectors import Collector
from rl_envs import (
    DoubleToFloat,
    EnvBase,
    ExplorationType,
    GymEnv,
    GymWrapper,
    PendulumEnv,
    TransformedEnv,
    set_exploration_type,
)
from rl_modules import OneHotCategorical, ProbabilisticActor, TanhNormal, ValueOperator
from rl_objectives import ClipPPOLoss


class Constant(nn.Module):
    """`loc` and `scale` that can be trained, whatever is observed."""

    def __init__(self, loc: float, scale: float, size: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.full((size,), loc))
        self.log_scale = nn.Parameter(torch.full((size,), scale).log())

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Both, expanded to the batch."""
        shape = (*observation.shape[:-1], self.loc.shape[0])
        return self.loc.expand(shape), self.log_scale.exp().expand(shape)


def tanh_actor(env: EnvBase, loc: float, scale: float) -> ProbabilisticActor:
    """A tanh-normal policy within the bounds of the environment's actions."""
    spec: Any = env.action_spec_unbatched
    network = Constant(loc, scale, spec.shape[-1])
    return ProbabilisticActor(
        TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=env.full_action_spec_unbatched,
        distribution_class=TanhNormal,
        distribution_kwargs={"low": spec.space.low, "high": spec.space.high},
        return_log_prob=True,
    )


def ppo_outputs(actor: ProbabilisticActor, batch: TensorDictBase) -> TensorDictBase:
    """Outputs of the clipped loss on a batch, advantages made up."""
    critic = ValueOperator(nn.Linear(batch["observation"].shape[-1], 1), in_keys=["observation"])
    torch.manual_seed(0)
    batch["advantage"] = torch.randn(*batch.batch_size, 1)
    batch["value_target"] = torch.randn(*batch.batch_size, 1)
    out: TensorDictBase = ClipPPOLoss(actor, critic)(batch)
    return out


@pytest.mark.parametrize("loc", [0.0, -2.0, 3.0])
def test_the_first_ratio_is_one(loc: float) -> None:
    """On the batch that a policy has just collected the ratio is 1: the stored action has the stored log-probability,
    although it went through the batch in float32 and back through the inverse of the squashing."""
    torch.manual_seed(0)
    env = PendulumEnv((16,), seed=0)
    actor = tanh_actor(env, loc, 0.7)
    batch = Collector(env, actor, frames_per_batch=640).rollout()
    out = ppo_outputs(actor, batch)
    assert out["clip_fraction"] == 0
    assert out["kl_approx"].abs() < 1e-4
    assert out["ESS"] > 1 - 1e-4


def test_the_first_ratio_of_a_discrete_policy_is_one() -> None:
    """The same for one-hot actions, exactly."""
    torch.manual_seed(0)
    env = GymEnv("CartPole-v1", num_envs=4)
    env.set_seed(0)
    actor = ProbabilisticActor(
        TensorDictModule(nn.Linear(4, 2, dtype=torch.float32), in_keys=["observation"], out_keys=["logits"]),
        in_keys=["logits"],
        spec=env.full_action_spec_unbatched,
        distribution_class=OneHotCategorical,
        return_log_prob=True,
    )
    batch = Collector(TransformedEnv(env, DoubleToFloat()), actor, frames_per_batch=160).rollout()
    out = ppo_outputs(actor, batch)
    assert out["clip_fraction"] == 0
    assert out["kl_approx"].abs() < 1e-6


@pytest.mark.parametrize("loc", [-1e3, -30.0, 30.0, 1e3])
def test_a_saturated_policy_has_finite_losses_and_gradients(loc: float) -> None:
    """With every action at a bound, log-probabilities, losses and gradients are numbers."""
    env = PendulumEnv((4,))
    actor = tanh_actor(env, loc, 1.0)
    batch = Collector(env, actor, frames_per_batch=64).rollout()
    assert torch.equal(batch["action"].abs(), torch.full_like(batch["action"], 2.0))
    assert batch["sample_log_prob"].isfinite().all()
    out = ppo_outputs(actor, batch)
    (out["loss_objective"] + out["loss_entropy"]).backward()
    assert out["loss_objective"].isfinite()
    for parameter in actor.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


class StrictEnv(gymnasium.Env[Any, Any]):
    """Refuses actions outside its space; its bounds are no float32 numbers."""

    def __init__(self, dtype: str) -> None:
        bound = np.array([0.1, 0.3, 2.0 / 3.0], dtype=dtype)
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.dtype(dtype).type)
        self.action_space = gymnasium.spaces.Box(-bound, bound * 3, (3,), np.dtype(dtype).type)

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        """Zeros."""
        return np.zeros(2, self.observation_space.dtype), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Check the action."""
        assert action.dtype == self.action_space.dtype
        assert self.action_space.contains(action), action
        return np.zeros(2, self.observation_space.dtype), 0.0, False, False, {}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loc", [-1e3, -3.0, 0.0, 8.0, 1e3])
def test_actions_of_a_float32_policy_are_inside_the_bounds(dtype: str, loc: float) -> None:
    """From the most extreme policy to the environment, actions are in its dtype and inside its bounds."""
    env = TransformedEnv(GymWrapper([StrictEnv(dtype), StrictEnv(dtype)]), DoubleToFloat())
    for exploration in (ExplorationType.RANDOM, ExplorationType.DETERMINISTIC, ExplorationType.MODE):
        actor = tanh_actor(env, loc, 2.0)
        batch = Collector(env, actor, frames_per_batch=40, exploration_type=exploration).rollout()
        spec: Any = env.action_spec_unbatched
        assert (batch["action"] >= spec.space.low).all()
        assert (batch["action"] <= spec.space.high).all()
        assert batch["action"].dtype is torch.float32


def is_deterministic(actions: Tensor) -> bool:
    """Whether all actions of a constant policy are the same."""
    return bool((actions == actions.flatten()[0]).all())


def test_exploration_is_what_the_documents_say() -> None:
    """A collector samples by default, whatever the context; a rollout and a call do what the context says, and
    without one the actor's default, its most likely action."""
    env = PendulumEnv((3,))
    actor = tanh_actor(env, 0.3, 0.5)
    assert "`RANDOM` samples" in (Collector.__doc__ or "")
    for context in (ExplorationType.DETERMINISTIC, ExplorationType.RANDOM):
        with set_exploration_type(context):
            assert not is_deterministic(Collector(env, actor, frames_per_batch=30).rollout()["action"])
            assert is_deterministic(env.rollout(10, actor)["action"]) == (context is ExplorationType.DETERMINISTIC)
            assert is_deterministic(actor(env.reset())["action"]) == (context is ExplorationType.DETERMINISTIC)
    assert is_deterministic(env.rollout(10, actor)["action"])
    greedy = Collector(env, actor, frames_per_batch=30, exploration_type=ExplorationType.DETERMINISTIC)
    assert is_deterministic(greedy.rollout()["action"])


def test_zeroed_weights_act_at_once_and_batches_say_so() -> None:
    """After weights are zeroed and handed over, every action is zero, and the batch carries the new version."""
    torch.manual_seed(0)
    env = PendulumEnv((3,), seed=0)
    policy = TensorDictModule(nn.Linear(3, 1), in_keys=["observation"], out_keys=["action"])
    collector = Collector(env, policy, frames_per_batch=30)
    before = collector.rollout()
    assert (before["collector", "policy_version"] == 0).all()
    assert before["action"].abs().min() > 0
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
    collector.update_policy_weights_()
    after = collector.rollout()
    assert (after["collector", "policy_version"] == 1).all()
    assert (after["action"] == 0).all()
