"""Resident memory while a program runs for many frames; prints megabytes after each tenth of them as JSON.

Batched pendulums, a policy with log-probability, reward sum and step counter, advantages, and a replay buffer that is
full after the first batches: what an on-policy program keeps alive. With `--env CartPole-v1` episodes end and reset.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from _case import report
from tensordict.nn import NormalParamExtractor, TensorDictModule
from torch import nn

from rl_buffers import LazyTensorStorage, TensorDictReplayBuffer
from rl_collectors import Collector
from rl_envs import GymEnv, PendulumEnv, RewardSum, StepCounter, TransformedEnv
from rl_modules import MLP, OneHotCategorical, ProbabilisticActor, TanhNormal, ValueOperator
from rl_objectives import GAE

TENTHS = 10


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def make_env(name: str, num_envs: int) -> TransformedEnv:
    """Pendulums in torch, or an environment of Gymnasium."""
    base = PendulumEnv([num_envs]) if name == "pendulum" else GymEnv(name, num_envs=num_envs)
    env = TransformedEnv(base)
    env.append_transform(RewardSum())
    env.append_transform(StepCounter(max_steps=200))
    env.set_seed(0)
    return env


def make_policy(env: TransformedEnv, observations: int) -> ProbabilisticActor:
    """A small policy over the environment's actions."""
    actions = env.action_spec_unbatched.shape[-1]
    dtype = env.action_spec_unbatched.dtype
    is_continuous = dtype is not None and dtype.is_floating_point
    layers: list[nn.Module] = [MLP(observations, actions * (2 if is_continuous else 1), num_cells=[16])]
    keys = ["loc", "scale"] if is_continuous else ["logits"]
    if is_continuous:
        layers.append(NormalParamExtractor())
    return ProbabilisticActor(
        TensorDictModule(nn.Sequential(*layers), ["observation"], keys),
        in_keys=keys,
        spec=env.full_action_spec_unbatched,
        distribution_class=TanhNormal if is_continuous else OneHotCategorical,
        return_log_prob=True,
    )


def measure(name: str, num_envs: int, frames: int, steps: int) -> dict[str, float]:
    """Megabytes by number of frames, and what was added after the first tenth."""
    env = make_env(name, num_envs)
    observations = env.observation_spec["observation"].shape[-1]
    gae = GAE(gamma=0.99, lmbda=0.95, value_network=ValueOperator(MLP(observations, 1, num_cells=[16])))
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(4 * num_envs * steps), batch_size=256)
    policy = make_policy(env, observations)
    collector = Collector(env, policy, frames_per_batch=num_envs * steps, total_frames=frames)
    after: list[float] = []
    done = 0
    for batch in collector:
        with torch.no_grad():
            gae(batch)
        buffer.extend(batch.reshape(-1))
        buffer.sample()
        done += batch.numel()
        if done * TENTHS >= frames * (len(after) + 1):
            after.append(resident_mb())
    collector.shutdown()
    values: dict[str, Any] = {f"after {(i + 1) * frames / TENTHS / 1e6:g} M": value for i, value in enumerate(after)}
    return {**values, "growth after the first tenth": after[-1] - after[0]}


def main() -> None:
    """Run the program and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="pendulum", help="pendulum, or an id of Gymnasium's")
    parser.add_argument("--num-envs", type=int, default=512)
    parser.add_argument("--frames", type=int, default=10_000_000)
    parser.add_argument("--steps", type=int, default=64, help="steps of each environment in a batch")
    args = parser.parse_args()
    torch.set_num_threads(1)
    report(measure(args.env, args.num_envs, args.frames, args.steps), "MB")


if __name__ == "__main__":
    main()
