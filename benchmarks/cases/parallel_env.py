"""Stepping environments in worker processes with given actions: this library, Gymnasium and TorchRL."""

import argparse
import json
import time
from collections.abc import Callable
from itertools import count as count_from
from typing import Any

import numpy as np
import torch

DISTINCT_ACTIONS = 64


def rl_suite(args: argparse.Namespace, actions: np.ndarray[Any, Any]) -> tuple[Callable[[], None], Callable[[], None]]:
    """One step, done rows reset, and the end, of this library's environments."""
    from rl_envs import EnvBase, EnvPlan, GymEnv, ParallelEnv, SerialEnv

    name, count = args.env, args.num_envs
    env: EnvBase
    if args.backend == "parallel":
        env = ParallelEnv(count, lambda: GymEnv(name), num_processes=args.num_processes, start_method=args.start_method)
    elif args.backend == "serial-env":
        env = SerialEnv(count, lambda: GymEnv(name))
    else:
        env = GymEnv(name, num_envs=count, backend=args.backend)
    env.set_seed(0)
    plan = EnvPlan(env)
    chosen = [torch.from_numpy(action) for action in actions]
    root, times = plan.reset(), count_from(0)

    def step() -> None:
        nonlocal root
        root["action"] = chosen[next(times) % DISTINCT_ACTIONS]
        root = plan.advance(root, plan.step(root))[0]

    return step, env.close


def gymnasium_vector(
    args: argparse.Namespace, actions: np.ndarray[Any, Any]
) -> tuple[Callable[[], None], Callable[[], None]]:
    """The same of Gymnasium's `AsyncVectorEnv` or `SyncVectorEnv`, which reset done rows in the next step."""
    import gymnasium

    mode = args.library.removeprefix("gymnasium-")
    env = gymnasium.make_vec(args.env, num_envs=args.num_envs, vectorization_mode=mode)
    env.reset(seed=0)
    times = count_from(0)

    def step() -> None:
        env.step(actions[next(times) % DISTINCT_ACTIONS])

    return step, env.close


def torchrl(args: argparse.Namespace, actions: np.ndarray[Any, Any]) -> tuple[Callable[[], None], Callable[[], None]]:
    """The same of TorchRL's `ParallelEnv`, or of its `SerialEnv` with `--backend serial-env`."""
    import torchrl.envs

    kind = torchrl.envs.SerialEnv if args.backend == "serial-env" else torchrl.envs.ParallelEnv
    name = args.env
    env = kind(args.num_envs, lambda: torchrl.envs.GymEnv(name))
    env.set_seed(0)
    chosen = [torch.from_numpy(action) for action in actions]
    root, times = env.reset(), count_from(0)

    def step() -> None:
        nonlocal root
        root = env.step_and_maybe_reset(root.set("action", chosen[next(times) % DISTINCT_ACTIONS]))[1]

    return step, env.close


def main() -> None:
    """Print the frames per second of the best of several stretches of steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--library", choices=("rl-suite", "gymnasium-async", "gymnasium-sync", "torchrl"), default="rl-suite"
    )
    parser.add_argument("--backend", choices=("parallel", "serial-env", "process", "serial"), default="parallel")
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--num-envs", type=int, default=8)
    parser.add_argument("--num-processes", type=int, default=None, help="of backend parallel; default: one per env")
    parser.add_argument("--start-method", choices=("fork", "forkserver", "spawn"), default="fork")
    parser.add_argument("--steps", type=int, default=3000, help="timed steps of the batch")
    parser.add_argument("--stretches", type=int, default=10, help="parts into which the timed steps are divided")
    args = parser.parse_args()
    torch.set_num_threads(1)
    import gymnasium

    space = gymnasium.spec(args.env).make().action_space
    space.seed(0)
    actions = np.stack([[space.sample() for _ in range(args.num_envs)] for _ in range(DISTINCT_ACTIONS)])
    makers = {"rl-suite": rl_suite, "torchrl": torchrl}
    step, close = makers.get(args.library, gymnasium_vector)(args, actions)
    for _ in range(100):
        step()
    each = max(args.steps // args.stretches, 1)
    times = []
    for _ in range(args.stretches):
        start = time.perf_counter()
        for _ in range(each):
            step()
        times.append(time.perf_counter() - start)
    close()
    label = f"{args.env} {args.num_envs} envs"
    print(json.dumps({"values": {label: each * args.num_envs / float(np.median(times))}, "unit": "frames/s"}))


if __name__ == "__main__":
    main()
