"""`GymEnv` over each of its backends, with given actions or with a policy and transforms; prints frames/s.

With `--with-policy`, the tutorial's work in a collector: 64x64 tanh-normal policy with log-prob, running normalisation,
clip, reward sum, step counter, float32. Without, stepping alone: actions that are there, done rows reset.
"""

import argparse
import json
import time
from typing import Any

import torch
from _library import load
from tutorial_ppo import make_networks

from rl_envs import EnvPlan


def make_env(args: argparse.Namespace, num_envs: int) -> Any:
    """The environments, bare."""
    lib = load("rl-suite")
    options = {"num_threads": args.threads} if args.backend == "envpool" else {}
    env = lib.GymEnv(args.env, num_envs=num_envs, backend=args.backend, **options)
    env.set_seed(0)
    return env


def stepping(args: argparse.Namespace, num_envs: int) -> float:
    """Frames per second of steps and resets with actions that are given."""
    env = make_env(args, num_envs)
    plan = EnvPlan(env)
    actions = [env.rand_action()["action"] for _ in range(16)]
    root = plan.reset()

    def turn() -> None:
        nonlocal root
        for action in actions:
            root["action"] = action
            root, _ = plan.advance(root, plan.step(root))

    turn()
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < args.seconds:
        turn()
        steps += len(actions)
    rate = steps * num_envs / (time.perf_counter() - start)
    env.close()
    return rate


def collecting(args: argparse.Namespace, num_envs: int) -> float:
    """Frames per second of a collector with transforms and a policy."""
    lib = load("rl-suite")
    env = lib.TransformedEnv(make_env(args, num_envs))
    env.append_transform(lib.VecNorm(in_keys=["observation"], decay=0.99999, eps=1e-2))
    env.append_transform(lib.ClipTransform(in_keys=["observation"], low=-10, high=10))
    env.append_transform(lib.RewardSum())
    env.append_transform(lib.StepCounter())
    if env.observation_spec["observation"].dtype == torch.float64:
        env.append_transform(lib.DoubleToFloat(in_keys=["observation"]))
    actor, _ = make_networks(lib, env)
    frames = num_envs * max(1, args.frames_per_batch // num_envs)
    collector = lib.Collector(env, actor, frames_per_batch=frames)
    collector.rollout()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < args.seconds:
        count += collector.rollout().numel()
    rate = count / (time.perf_counter() - start)
    collector.shutdown()
    return rate


def main() -> None:
    """Time each number of envs and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=["serial", "process", "envpool"], default=None, help="default: GymEnv's")
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--num-envs", type=int, nargs="+", default=[64])
    parser.add_argument("--threads", type=int, default=2, help="of EnvPool")
    parser.add_argument("--with-policy", action="store_true")
    parser.add_argument("--frames-per-batch", type=int, default=2048)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    measure = collecting if args.with_policy else stepping
    print(json.dumps({"values": {f"{n} envs": measure(args, n) for n in args.num_envs}, "unit": "frames/s"}))


if __name__ == "__main__":
    main()
