"""Evaluation of a policy: a fixed number of episodes, the most likely actions, frozen normalisation."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch

from rl_collectors import Collector
from rl_envs import EnvBase, ExplorationType
from rl_specs import message
from rl_trainers import build
from rl_trainers.config import PPOConfig
from rl_trainers.errors import EvaluationError
from rl_trainers.ppo import PPO
from rl_trainers.random_state import random_state, set_random_state

STEPS_PER_BATCH = 100
MAX_PARALLEL = 16


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Returns and lengths of episodes.

    Attributes:
        returns: undiscounted, unscaled return of each episode.
        lengths: steps of each episode.
    """

    returns: list[float]
    lengths: list[int]

    @property
    def mean(self) -> float:
        """Mean return."""
        return math.fsum(self.returns) / len(self.returns)

    @property
    def deviation(self) -> float:
        """Standard deviation of the returns over the episodes (divided by their number)."""
        return math.sqrt(math.fsum((value - self.mean) ** 2 for value in self.returns) / len(self.returns))

    def to_dict(self) -> dict[str, Any]:
        """What `evaluation.json` holds."""
        return {
            "mean": self.mean,
            "deviation": self.deviation,
            "episodes": len(self.returns),
            "returns": self.returns,
            "lengths": self.lengths,
        }


def quotas(episodes: int, num_envs: int) -> list[int]:
    """Episodes that each environment contributes, decided beforehand so that long ones are not under-counted.

    Args:
        episodes: in all.
        num_envs: environments.
    Returns:
        As many numbers as environments, of sum `episodes`, differing by 1 at most.
    """
    return [episodes // num_envs + (index < episodes % num_envs) for index in range(num_envs)]


def run_episodes(
    env: EnvBase, policy: Callable[..., Any], *, episodes: int, max_steps: int, device: torch.device | None = None
) -> Evaluation:
    """The first episodes of each environment of a batch, under the policy's most likely actions.

    Args:
        env: batch size `[num_envs]`, with `episode_reward` and `step_count` as `build_env` makes.
        policy: what acts.
        episodes: in all; a quota per environment is fixed beforehand.
        max_steps: longest episode allowed.
        device: where the policy lives.
    Returns:
        Returns and lengths, environment by environment.
    Raises:
        EvaluationError: an episode is longer than `max_steps`.
    """
    num_envs = env.batch_size.numel()
    wanted = quotas(episodes, num_envs)
    found: list[list[tuple[float, int]]] = [[] for _ in wanted]
    collector = Collector(
        env,
        policy,
        frames_per_batch=num_envs * STEPS_PER_BATCH,
        env_device="cpu",
        policy_device=device,
        storing_device="cpu",
        exploration_type=ExplorationType.DETERMINISTIC,
    )
    for data in collector:
        done = data["next", "done"].squeeze(-1)
        returns, lengths = data["next", "episode_reward"].squeeze(-1), data["next", "step_count"].squeeze(-1)
        for index, (quota, episodes_of) in enumerate(zip(wanted, found, strict=True)):
            for step in done[index].nonzero().squeeze(-1).tolist()[: quota - len(episodes_of)]:
                episodes_of.append((float(returns[index, step]), int(lengths[index, step])))
        open_envs = [index for index, quota in enumerate(wanted) if len(found[index]) < quota]
        if not open_envs:
            break
        longest = max(int(lengths[index, -1]) for index in open_envs)
        if longest > max_steps:
            raise EvaluationError(
                message(
                    "evaluation",
                    f"an episode has not ended after {longest} steps",
                    fix="Set env.max_steps, or raise evaluation.max_steps",
                )
            )
    pairs = [pair for episodes_of in found for pair in episodes_of]
    return Evaluation([value for value, _ in pairs], [length for _, length in pairs])


def evaluate_ppo(ppo: PPO, config: PPOConfig, episodes: int) -> Evaluation:
    """Evaluate the actor in environments of its own; training goes on afterwards as if nothing had happened.

    Args:
        ppo: whose actor and normalisation are used. Neither these nor the global random streams change.
        config: the environment and the seed.
        episodes: how many.
    """
    before = random_state()
    frozen = None if ppo.normalizer is None else ppo.normalizer.frozen_copy().to("cpu")
    env = build.build_env(config.env, min(episodes, MAX_PARALLEL), frozen)
    try:
        env.eval()
        env.set_seed(config.seed + 2**31)
        return run_episodes(env, ppo.actor, episodes=episodes, max_steps=config.evaluation.max_steps, device=ppo.device)
    finally:
        env.close()
        set_random_state(before)
