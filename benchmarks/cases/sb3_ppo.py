"""Stable-Baselines3 on the work of `tutorial_ppo.py`; prints frames per second for each number of envs."""

import argparse
import time

import torch
from _case import ADAM, label, report
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

FRAMES = 2048


class Clock(BaseCallback):  # type: ignore[misc]  # peers are not installed where this is checked
    """Seconds of each rollout, and when each began; stops the training when enough is timed."""

    def __init__(self, work: str, seconds: float) -> None:
        super().__init__()
        self.rollouts: list[float] = []
        self.starts: list[float] = []
        self.work, self.seconds = work, seconds

    def _on_rollout_start(self) -> None:
        self.starts.append(time.perf_counter())

    def _on_step(self) -> bool:
        enough = self.work == "ppo" and len(self.starts) > 2 and self.starts[-1] - self.starts[1] >= self.seconds
        return not enough and not (self.work == "collection" and sum(self.rollouts[1:]) >= self.seconds)

    def _on_rollout_end(self) -> None:
        self.rollouts.append(time.perf_counter() - self.starts[-1])

    def frames_per_s(self) -> float:
        """Without the first batch."""
        if self.work == "collection":
            return FRAMES * len(self.rollouts[1:]) / sum(self.rollouts[1:])
        return FRAMES * (len(self.starts) - 2) / (self.starts[-1] - self.starts[1])


def frames_per_s(args: argparse.Namespace, num_envs: int) -> float:
    """Train for as long as asked, with one epoch a batch where only the collection is timed."""
    envs = VecNormalize(make_vec_env(args.env, n_envs=num_envs, seed=0), norm_reward=False, clip_obs=10.0)
    epochs = 10 if args.work == "ppo" else 1
    rate, options = ADAM["lr"], {key: value for key, value in ADAM.items() if key != "lr"}
    model = PPO(
        "MlpPolicy",
        envs,
        learning_rate=rate,
        n_steps=FRAMES // num_envs,
        batch_size=256,
        n_epochs=epochs,
        ent_coef=0.01,
        policy_kwargs={"optimizer_kwargs": options},
        device="cpu",
    )
    clock = Clock(args.work, args.seconds)
    model.learn(10**9, callback=clock)
    envs.close()
    return clock.frames_per_s()


def main() -> None:
    """Time the program and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", choices=["collection", "ppo"], required=True)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--num-envs", type=int, nargs="+", default=[1])
    parser.add_argument("--seconds", type=float, default=3.0, help="timed for each number of envs, one batch at least")
    args = parser.parse_args()
    torch.set_num_threads(1)
    report({label(count): frames_per_s(args, count) for count in args.num_envs}, "frames/s")


if __name__ == "__main__":
    main()
