"""EnvPool by itself: stepping with given actions, nothing around it; prints frames/s for each number of envs."""

import argparse
import json
import time
from typing import Any

import envpool
import numpy as np


def given_actions(space: Any, count: int, length: int) -> list[Any]:
    """Random actions of `length` steps, each `[count, ...]`."""
    space.seed(0)
    return [np.stack([space.sample() for _ in range(count)]) for _ in range(length)]


def frames_per_s(name: str, num_envs: int, num_threads: int, seconds: float) -> float:
    """Steps for `seconds`; EnvPool starts new episodes by itself."""
    env = envpool.make(name, env_type="gymnasium", num_envs=num_envs, num_threads=num_threads, seed=0)
    actions = given_actions(env.action_space, num_envs, 16)
    env.reset()
    for action in actions:
        env.step(action)
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for action in actions:
            env.step(action)
        steps += len(actions)
    return steps * num_envs / (time.perf_counter() - start)


def main() -> None:
    """Time each number of envs and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--num-envs", type=int, nargs="+", default=[64])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    values = {f"{n} envs": frames_per_s(args.env, n, args.threads, args.seconds) for n in args.num_envs}
    print(json.dumps({"values": values, "unit": "frames/s"}))


if __name__ == "__main__":
    main()
