"""Stable-Baselines3 on the work of `tutorial_ppo.py`; prints frames per second as JSON."""

import argparse
import json
import time

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize


class Clock(BaseCallback):  # type: ignore[misc]  # peers are not installed where this is checked
    """Seconds of each rollout and of the whole run after the first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rollouts: list[float] = []
        self.started = 0.0
        self.first_end = 0.0

    def _on_rollout_start(self) -> None:
        self.started = time.perf_counter()
        if len(self.rollouts) == 1:
            self.first_end = self.started

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.rollouts.append(time.perf_counter() - self.started)


def main() -> None:
    """Time the program and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", choices=["collection", "ppo"], required=True)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--num-envs", type=int, default=1)
    parser.add_argument("--batches", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    envs = VecNormalize(make_vec_env(args.env, n_envs=args.num_envs, seed=0), norm_reward=False, clip_obs=10.0)
    epochs = 10 if args.work == "ppo" else 1
    model = PPO(
        "MlpPolicy", envs, n_steps=2048 // args.num_envs, batch_size=256, n_epochs=epochs, ent_coef=0.01, device="cpu"
    )
    clock = Clock()
    model.learn(2048 * (args.batches + 1), callback=clock)
    seconds = time.perf_counter() - clock.first_end if args.work == "ppo" else sum(clock.rollouts[1:])
    print(json.dumps({"frames_per_s": 2048 * args.batches / seconds}))


if __name__ == "__main__":
    main()
