"""What a run reports of its policy is what the simulator says, and looking does not touch what is looked at."""

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from rl_envs import GymEnv, GymWrapper
from rl_trainers import PPOConfig, build, parse_config
from rl_trainers.evaluation import evaluate_ppo, run_episodes
from rl_trainers.ppo import PPO
from rl_trainers.random_state import seed_everything

NAME = "InvertedDoublePendulum-v5"


def make_ppo(*overrides: str) -> tuple[PPO, PPOConfig]:
    """A run after two batches."""
    small = ["env.num_envs=2", "collector.frames_per_batch=128", "ppo.num_epochs=2", "progress=false"]
    config = parse_config([*small, f"env.name={NAME}", *overrides])
    seed_everything(config.seed)
    ppo = PPO(config)
    for _ in range(2):
        ppo.update(ppo.collector.rollout())
    return ppo, config


def by_hand(ppo: PPO, config: PPOConfig, first_states: list[Any]) -> tuple[list[float], list[int]]:
    """Returns and lengths in Gymnasium alone, from the given first states, with the formulas of the documents."""
    normalizer = ppo.normalizer
    assert normalizer is not None
    mean, deviation = normalizer.loc.numpy().copy(), normalizer.scale.numpy().copy()
    network: Any = ppo.actor[0]
    returns, lengths = [], []
    for state in first_states:
        env = gymnasium.make(NAME)
        env.reset(seed=0)
        raw: Any = env.unwrapped
        raw.set_state(*state)
        observation, total, length, is_over = raw._get_obs(), 0.0, 0, False
        while not is_over:
            bound = config.env.clip_observation
            seen = np.clip((observation - mean) / deviation, -bound, bound).astype(np.float32)
            with torch.no_grad():
                loc, _ = network.module(torch.from_numpy(seen))
            action = np.clip(np.tanh(loc.numpy()), env.action_space.low, env.action_space.high)  # type: ignore[attr-defined]  # a Box
            observation, reward, terminated, truncated, _ = env.step(action)
            total, length, is_over = total + float(reward), length + 1, terminated or truncated
        env.close()
        returns.append(total)
        lengths.append(length)
    return returns, lengths


def first_states(config: PPOConfig, count: int) -> list[Any]:
    """Simulator states from which an evaluation of `count` episodes in as many environments starts."""
    env = GymEnv(NAME, num_envs=count)
    env.set_seed(config.seed + 2**31)
    env.reset()
    raws: list[Any] = [each.unwrapped for each in env.unwrapped_envs]
    states = [(raw.data.qpos.copy(), raw.data.qvel.copy()) for raw in raws]
    env.close()
    return states


def test_evaluation_is_what_gymnasium_says() -> None:
    """Statistics, clip, most likely action, reward and length of an evaluation are those of a loop written by hand."""
    ppo, config = make_ppo()
    found = evaluate_ppo(ppo, config, 6)
    returns, lengths = by_hand(ppo, config, first_states(config, 6))
    assert found.lengths == lengths
    assert found.returns == pytest.approx(returns, rel=1e-4)
    ppo.close()


def test_evaluation_leaves_training_as_it_was() -> None:
    """With evaluations in between, statistics, batches and weights are those of a run without, bit for bit."""
    watched, config = make_ppo()
    plain, _ = make_ppo()
    assert watched.normalizer is not None
    before = copy.deepcopy(watched.normalizer.state_dict())
    generator = torch.get_rng_state()
    evaluate_ppo(watched, config, 3)
    assert all(torch.equal(before[key], value) for key, value in watched.normalizer.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    batches = []
    for ppo in (watched, plain):
        torch.set_rng_state(generator)
        data = ppo.collector.rollout()
        ppo.update(data)
        batches.append(data)
    assert (batches[0] == batches[1]).all()
    for one, two in zip(watched.parameters, plain.parameters, strict=True):
        assert torch.equal(one, two)
    watched.close()
    plain.close()


def test_evaluation_starts_from_other_states_than_training() -> None:
    """No environment of an evaluation draws from the stream of one of the training, nor from that of another seed."""
    config = PPOConfig()
    starts = []
    for seed in (*range(4), *(seed + 2**31 for seed in range(4))):
        env = build.build_base_env(config.env, 8)
        env.set_seed(seed)
        starts += [tuple(row.tolist()) for row in env.reset()["observation"]]
        env.close()
    assert len(set(starts)) == len(starts)


def test_long_episodes_count_like_short_ones() -> None:
    """With episodes of different lengths in each row, every row gives its quota: the first ones it finishes."""

    class Lengths(gymnasium.Env[Any, Any]):
        """The k-th episode takes `length * k` steps; the reward of each is 1."""

        def __init__(self, length: int) -> None:
            self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
            self.action_space = gymnasium.spaces.Discrete(2)
            self.length, self.episode, self.count = length, 0, 0

        def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
            """Next episode."""
            self.episode, self.count = self.episode + 1, 0
            return np.zeros(1, np.float32), {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            """Count."""
            self.count += 1
            return np.zeros(1, np.float32), 1.0, self.count == self.length * self.episode, False, {}

    env = build.add_transforms(GymWrapper([Lengths(1), Lengths(70)]), PPOConfig().env)
    result = run_episodes(env, env.rand_action, episodes=4, max_steps=1000)
    assert result.lengths == [1, 2, 70, 140]
    assert result.returns == [1.0, 2.0, 70.0, 140.0]
