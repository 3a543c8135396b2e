"""The hand-written contender does the work that it is compared with, and does it right."""

import numpy as np
import pytest
import torch
from _hand_written import Loop, Policy
from hand_written import GAMMA, LMBDA, advantages, learn
from torch import nn

from rl_envs import GymEnv, TransformedEnv, VecNorm
from rl_modules import TanhNormal
from rl_objectives.functional import generalized_advantage_estimate

ENTRIES = {
    "observation",
    "next_observation",
    "action",
    "latent",
    "log_prob",
    "reward",
    "episode_reward",
    "step_count",
    "terminated",
    "truncated",
}


@pytest.fixture
def loop() -> Loop:
    """Three cart poles, 40 steps a batch: long enough for episodes to end."""
    torch.manual_seed(0)
    return Loop("CartPole-v1", 3, 120)


def test_log_prob_is_that_of_the_library() -> None:
    """Log-probabilities of drawn and of stored actions are those of our tanh-normal distribution."""
    torch.manual_seed(0)
    policy, observation = Policy(5, 2, is_discrete=False), torch.randn(7, 5)
    action, latent, log_prob = policy.sample(observation)
    loc, scale = policy.network(observation), nn.functional.softplus(policy.raw_scale)
    expected = TanhNormal(loc, scale.expand_as(loc)).log_prob(action)
    torch.testing.assert_close(log_prob, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(policy.evaluate(observation, latent)[0], log_prob, atol=1e-5, rtol=1e-5)


def test_discrete_choices_follow_their_probabilities() -> None:
    """Choices are drawn as often as their logits say, and scored with those."""
    torch.manual_seed(0)
    policy, observation = Policy(5, 3, is_discrete=True), torch.randn(1, 5).expand(20_000, 5)
    action, _, log_prob = policy.sample(observation)
    expected = policy.network(observation[:1]).log_softmax(-1).squeeze(0)
    torch.testing.assert_close(log_prob, expected[action])
    shares = torch.bincount(action, minlength=3) / len(action)
    torch.testing.assert_close(shares, expected.exp(), atol=0.02, rtol=0.0)


def test_a_batch_holds_what_ours_holds(loop: Loop) -> None:
    """Every entry is there, `[T, N]`; sums and counts restart where an episode ended; no episode is lost."""
    batch = loop.collect()
    assert set(batch) == ENTRIES
    assert all(value.shape[:2] == (40, 3) for value in batch.values())
    done = batch["terminated"] | batch["truncated"]
    assert done.any()
    goes_on = ~done[:-1]
    count = batch["step_count"]
    assert torch.equal(count[1:][goes_on], count[:-1][goes_on] + 1)
    assert (count[1:][~goes_on] == 1).all()
    assert torch.equal(batch["episode_reward"], count.float())
    follows = (batch["observation"][1:] == batch["next_observation"][:-1]).all(-1)
    assert torch.equal(follows, goes_on)


def test_batches_belong_to_the_caller(loop: Loop) -> None:
    """A later batch writes nothing into an earlier one."""
    first = loop.collect()
    kept = {key: value.clone() for key, value in first.items()}
    loop.collect()
    assert all(torch.equal(first[key], kept[key]) for key in kept)


def test_normalisation_is_that_of_the_library() -> None:
    """The first observations of a batch are what our running normalisation makes of them."""
    bare, ours = (GymEnv("CartPole-v1", num_envs=3) for _ in range(2))
    env = TransformedEnv(ours, VecNorm(in_keys=["observation"], decay=0.99999, eps=1e-2))
    for each in (bare, env):
        each.set_seed(0)
    loop = Loop("CartPole-v1", 3, 3)
    loop.observations[:] = bare.reset()["observation"].numpy()
    loop.sums[:], loop.squares[:], loop.count = 0.0, 0.0, 0.0
    loop._update()
    found = np.empty_like(loop.observations)
    loop._normalise(found)
    torch.testing.assert_close(torch.from_numpy(found), env.reset()["observation"], atol=1e-5, rtol=1e-5)


def test_advantages_are_those_of_the_library(loop: Loop) -> None:
    """The loop over time gives the generalised advantage estimate of our functional form."""
    critic = nn.Linear(4, 1)
    batch = loop.collect()
    found, target = advantages(batch, critic)
    entries = {key: value.transpose(0, 1) for key, value in batch.items()}
    with torch.no_grad():
        now, then = critic(entries["observation"]), critic(entries["next_observation"])
    terminated = entries["terminated"].unsqueeze(-1)
    done = terminated | entries["truncated"].unsqueeze(-1)
    reward = entries["reward"].unsqueeze(-1)
    expected, value_target = generalized_advantage_estimate(GAMMA, LMBDA, now, then, reward, done, terminated)
    torch.testing.assert_close(found.T.unsqueeze(-1), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(target.T.unsqueeze(-1), value_target, atol=1e-4, rtol=1e-4)


def test_learning_moves_actor_and_critic(loop: Loop) -> None:
    """Ten epochs on a batch change every parameter that the policy uses."""
    critic = nn.Linear(4, 1)
    parameters = [*loop.policy.network.parameters(), *critic.parameters()]
    before = [parameter.detach().clone() for parameter in parameters]
    learn(loop, critic, parameters, torch.optim.Adam(parameters), loop.collect())
    assert all(not torch.equal(old, new) for old, new in zip(before, parameters, strict=True))
