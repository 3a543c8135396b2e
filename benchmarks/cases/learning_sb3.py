"""Train Stable-Baselines3's PPO with the settings of our recipe and write its learning curve as CSV.

Runs in the peers' environment:
`python learning_sb3.py --env HalfCheetah-v5 --frames 1000000 --seed 0 --output curve.csv`.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize


class Curve(BaseCallback):  # type: ignore[misc]  # peers are not installed where this is checked
    """Mean return of the last 100 episodes, once per rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, float, float]] = []
        self.start = time.time()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        episodes = self.model.ep_info_buffer or []
        if episodes:
            mean = float(np.mean([episode["r"] for episode in episodes]))
            self.rows.append((self.num_timesteps, mean, time.time() - self.start))


def main() -> None:
    """Train, evaluate, write the curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--num-envs", type=int, default=8)
    parser.add_argument("--frames-per-batch", type=int, default=2048)
    parser.add_argument("--minibatch", type=int, default=256)
    parser.add_argument("--entropy", type=float, default=0.0)
    parser.add_argument("--no-normalize", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    envs = make_vec_env(args.env, n_envs=args.num_envs, seed=args.seed)
    if not args.no_normalize:
        envs = VecNormalize(envs, norm_obs=True, norm_reward=False, clip_obs=10.0)
    model = PPO(
        "MlpPolicy",
        envs,
        n_steps=args.frames_per_batch // args.num_envs,
        batch_size=args.minibatch,
        ent_coef=args.entropy,
        seed=args.seed,
        device="cpu",
    )
    curve = Curve()
    model.learn(args.frames, callback=curve)
    seconds = time.time() - curve.start
    test = make_vec_env(args.env, n_envs=1, seed=args.seed + 1000)
    if isinstance(envs, VecNormalize):
        test = VecNormalize(test, norm_obs=True, norm_reward=False, clip_obs=10.0, training=False)
        test.obs_rms = envs.obs_rms
    returns, _ = evaluate_policy(model, test, n_eval_episodes=10, deterministic=True, return_episode_rewards=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with args.output.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["frames", "return_mean", "seconds"])
        writer.writerows(curve.rows)
    print(
        f"{args.env} seed {args.seed}: {np.mean(returns):.1f} +- {np.std(returns):.1f} over {len(returns)} "
        f"deterministic episodes, training mean {curve.rows[-1][1]:.1f}, {args.frames / seconds:.0f} frames/s"
    )


if __name__ == "__main__":
    main()
