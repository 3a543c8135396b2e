"""Environments exported to Gymnasium, trained on by a library that knows nothing of this one."""

from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import RecordEpisodeStatistics
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env

from rl_envs import EnvBase, GymEnv, PendulumEnv, StepCounter, TicTacToeEnv, TransformedEnv, to_gymnasium

PLAYER = ("player0", "reward")


@pytest.mark.parametrize(
    ("make", "policy", "reward_key"),
    [
        (lambda: TransformedEnv(PendulumEnv(), StepCounter(max_steps=50)), "MultiInputPolicy", None),
        (PendulumEnv, "MlpPolicy", None),
        (lambda: GymEnv("CartPole-v1"), "MlpPolicy", None),
        (lambda: TicTacToeEnv(single_player=True), "MultiInputPolicy", PLAYER),
    ],
)
def test_ppo_of_stable_baselines_trains(
    make: Callable[[], EnvBase], policy: str, reward_key: tuple[str, str] | None
) -> None:
    """Its checker accepts the export, and 512 steps of its PPO change the policy and leave no number undefined."""
    env = to_gymnasium(make(), reward_key=reward_key)
    check_env(env, warn=False)
    agent = PPO(policy, env, n_steps=128, batch_size=64, n_epochs=2, seed=0, device="cpu")
    before = [value.clone() for value in agent.policy.parameters()]
    agent.learn(total_timesteps=512)
    after = list(agent.policy.parameters())
    assert agent.num_timesteps == 512
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert all(bool(value.isfinite().all()) for value in after)
    env.close()


def test_loops_in_the_style_of_cleanrl_run() -> None:
    """Exports go into Gymnasium's wrappers and vectors, which count returns and keep the last observation."""
    makers = [lambda: RecordEpisodeStatistics(to_gymnasium(GymEnv("CartPole-v1"))) for _ in range(2)]
    envs = gymnasium.vector.SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    observation, _ = envs.reset(seed=1)
    envs.action_space.seed(0)
    returns, finished = np.zeros(2), []
    for _ in range(200):
        observation, reward, terminated, truncated, infos = envs.step(envs.action_space.sample())
        returns += reward
        done = terminated | truncated
        for row in done.nonzero()[0]:
            finished.append(returns[row])
            assert infos["final_info"]["episode"]["r"][row] == returns[row]
            assert infos["final_obs"][row].shape == observation[row].shape
        returns[done] = 0
    assert len(finished) > 5
    envs.close()
