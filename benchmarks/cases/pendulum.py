"""Batched pendulums under random actions; prints frames per second for each number of envs.

Ours and TorchRL's are written in torch and step all rows in one call; Gymnasium's vector steps one after the other.
"""

import argparse
import time
from collections.abc import Callable

import torch
from _case import label, report

STEPS = 100


def rl_suite(num_envs: int) -> Callable[[], object]:
    """A rollout of ours."""
    from rl_envs import PendulumEnv

    env = PendulumEnv([num_envs])
    return lambda: env.rollout(STEPS, break_when_any_done=False)


def torchrl(num_envs: int) -> Callable[[], object]:
    """A rollout of TorchRL's, whose batch size comes with the parameters that a reset is given."""
    from torchrl.envs import PendulumEnv

    env = PendulumEnv()
    start = env.reset(env.gen_params(batch_size=[num_envs]))
    return lambda: env.rollout(STEPS, break_when_any_done=False, auto_reset=False, tensordict=start)


def gymnasium_sync(num_envs: int) -> Callable[[], object]:
    """As many steps of Gymnasium's vector; nothing is stored."""
    import gymnasium

    env = gymnasium.make_vec("Pendulum-v1", num_envs=num_envs, vectorization_mode="sync")
    env.reset(seed=0)

    def steps() -> None:
        for _ in range(STEPS):
            env.step(env.action_space.sample())

    return steps


MAKERS = {"rl-suite": rl_suite, "torchrl": torchrl, "gymnasium-sync": gymnasium_sync}


def frames_per_s(library: str, num_envs: int, seconds: float) -> float:
    """One rollout untimed, then rollouts for as long as asked."""
    roll = MAKERS[library](num_envs)
    roll()
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        roll()
        count += 1
    return count * STEPS * num_envs / (time.perf_counter() - started)


def main() -> None:
    """Time the program and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=sorted(MAKERS), required=True)
    parser.add_argument("--num-envs", type=int, nargs="+", default=[64])
    parser.add_argument("--seconds", type=float, default=1.0, help="timed for each number of envs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    report({label(count): frames_per_s(args.library, count, args.seconds) for count in args.num_envs}, "frames/s")


if __name__ == "__main__":
    main()
