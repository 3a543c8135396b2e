"""What `GymEnv` adds to the bare `env.step` of one environment under random actions; prints microseconds a step.

A rollout of 1,000 steps and a bare loop over given actions take turns; the figure is the median of the differences, so
the drawing of the random actions counts as overhead.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import torch
from _case import report
from _library import load

STEPS = 1000


def seconds_of(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def overhead_us(library: str, name: str, turns: int) -> float:
    """Median over the turns."""
    env = load(library).GymEnv(name)
    bare: Any = gymnasium.make(name, disable_env_checker=True)
    bare.reset(seed=0)
    actions = [bare.action_space.sample() for _ in range(STEPS)]

    def loop() -> None:
        for action in actions:
            _, _, terminated, truncated, _ = bare.step(action)
            if terminated or truncated:
                bare.reset()

    def roll() -> None:
        env.rollout(STEPS, break_when_any_done=False)

    roll()
    loop()
    return statistics.median((seconds_of(roll) - seconds_of(loop)) / STEPS * 1e6 for _ in range(turns))


def main() -> None:
    """Time the program and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=["rl-suite", "torchrl"], required=True)
    parser.add_argument("--env", nargs="+", default=["CartPole-v1", "HalfCheetah-v5"])
    parser.add_argument("--turns", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(1)
    report({name: overhead_us(args.library, name, args.turns) for name in args.env}, "us")


if __name__ == "__main__":
    main()
