"""The pieces of a run are what the configuration says."""

from collections.abc import Callable

import pytest
import torch
from tensordict import TensorDict

from rl_envs import ExplorationType, set_exploration_type
from rl_trainers import PPOConfig, UnsupportedEnvError, build

MakeConfig = Callable[..., PPOConfig]
NAMES = ["InvertedDoublePendulum-v5", "Pendulum-v1", "CartPole-v1", "PendulumEnv"]


@pytest.mark.parametrize("name", NAMES)
def test_env_actor_and_critic_fit(make_config: MakeConfig, name: str) -> None:
    """For each kind of environment the actor's actions are in the spec and the critic gives a value per step."""
    config = make_config(f"env.name={name}")
    env = build.build_env(config.env, 2)
    env.set_seed(0)
    device = torch.device("cpu")
    actor = build.build_actor(config.network, env, device)
    critic = build.build_critic(config.network, env, device)
    data = env.rollout(5, actor, break_when_any_done=False)
    assert data.batch_size == torch.Size([2, 5])
    assert data["observation"].dtype == torch.float32
    assert data["sample_log_prob"].shape == (2, 5)
    assert env.action_spec.is_in(data["action"][:, 0])
    assert critic(data)["state_value"].shape == (2, 5, 1)
    env.close()


def test_reward_scale_leaves_logged_returns_alone(make_config: MakeConfig) -> None:
    """The learner's reward is scaled, the episode's return is the sum of unscaled rewards."""
    plain = build.build_env(make_config("env.name=Pendulum-v1", "env.reward_scale=1").env, 1)
    scaled = build.build_env(make_config("env.name=Pendulum-v1", "env.reward_scale=0.1").env, 1)
    rollouts = []
    for env in (plain, scaled):
        env.set_seed(3)
        torch.manual_seed(0)
        rollouts.append(env.rollout(6))
        env.close()
    a, b = rollouts
    torch.testing.assert_close(b["next", "reward"], a["next", "reward"] * 0.1)
    torch.testing.assert_close(b["next", "episode_reward"], a["next", "episode_reward"])


def test_max_steps_truncates(make_config: MakeConfig) -> None:
    """`env.max_steps` ends an episode as truncated, not terminated."""
    env = build.build_env(make_config("env.name=Pendulum-v1", "env.max_steps=3").env, 1)
    data = env.rollout(5)
    assert data.shape[-1] == 3
    assert bool(data["next", "truncated"][0, -1])
    assert not bool(data["next", "terminated"].any())
    env.close()


def test_native_env_has_a_time_limit(make_config: MakeConfig) -> None:
    """The native pendulum, which never ends by itself, is truncated after 200 steps."""
    env = build.build_env(make_config("env.name=PendulumEnv").env, 1)
    assert env.rollout(300).shape[-1] == 200


def test_normalizer_is_found_and_can_be_left_out(make_config: MakeConfig) -> None:
    """The running normalisation is part of the environment unless switched off."""
    with_it = build.build_env(make_config().env, 1)
    without = build.build_env(make_config("env.normalize_observation=false").env, 1)
    assert build.find_normalizer(with_it) is not None
    assert build.find_normalizer(without) is None
    with_it.close()
    without.close()


@pytest.mark.parametrize("scale", ["parameter", "network"])
def test_initial_scale(make_config: MakeConfig, scale: str) -> None:
    """A fresh policy has about the deviation that was asked for, and a mean near the middle of the actions."""
    config = make_config("env.name=Pendulum-v1", f"network.scale={scale}", "network.initial_scale=0.3")
    env = build.build_env(config.env, 4)
    torch.manual_seed(0)
    actor = build.build_actor(config.network, env, torch.device("cpu"))
    data = actor(env.reset()).detach()
    torch.testing.assert_close(data["scale"], torch.full((4, 1), 0.3), atol=0.02, rtol=0)
    assert float(data["loc"].abs().max()) < 0.1
    env.close()


def test_optimizer_anneals_to_zero(make_config: MakeConfig) -> None:
    """With annealing the rate after b of n batches is lr * (1 - b / n); without, it stays."""
    weight = torch.nn.Parameter(torch.zeros(()))
    for anneal, expected in ((True, [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]), (False, [1.0] * 6)):
        config = make_config("optim.lr=1.0", f"optim.anneal={str(anneal).lower()}")
        optimizer, scheduler = build.build_optimizer(config, [weight])
        rates = []
        for _ in range(6):
            rates.append(optimizer.param_groups[0]["lr"])
            weight.grad = torch.zeros(())
            optimizer.step()
            scheduler.step()
        assert rates == expected


def test_discrete_policy_picks_the_likeliest(make_config: MakeConfig) -> None:
    """Under deterministic exploration a categorical policy takes the action of the largest logit."""
    env = build.build_env(make_config("env.name=CartPole-v1").env, 1)
    actor = build.build_actor(make_config().network, env, torch.device("cpu"))
    data = TensorDict({"observation": torch.randn(16, 4)}, batch_size=[16])
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        actor(data)
    assert torch.equal(data["action"].long().argmax(-1), data["logits"].argmax(-1))
    env.close()


def test_unsupported_observations_are_refused(make_config: MakeConfig) -> None:
    """An environment whose observations are not vectors of floats is refused with what was found."""
    with pytest.raises(UnsupportedEnvError, match="observation observation is not a vector of floats"):
        build.build_env(make_config("env.name=FrozenLake-v1").env, 1)
