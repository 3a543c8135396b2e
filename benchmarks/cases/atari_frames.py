"""Atari frames (210 x 160 x 3 bytes, as they are) under random actions; prints frames/s for each number of envs.

Every contender leaves batches of 256 frames with the observation before and after each step.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import ale_py
import gymnasium
import numpy as np
import torch
from _case import label, report

NAME, FRAMES = "ALE/Pong-v5", 256


def rl_suite(num_envs: int) -> Callable[[], object]:
    """Our collector with random actions."""
    from rl_collectors import Collector
    from rl_envs import GymEnv

    env = GymEnv(NAME) if num_envs == 1 else GymEnv(NAME, num_envs=num_envs, backend="serial")
    batches = iter(Collector(env, None, frames_per_batch=FRAMES, total_frames=-1))
    return lambda: next(batches)


def torchrl(num_envs: int) -> Callable[[], object]:
    """TorchRL's collector with random actions."""
    from torchrl.collectors import Collector
    from torchrl.envs import GymEnv, SerialEnv

    env = GymEnv(NAME) if num_envs == 1 else SerialEnv(num_envs, lambda: GymEnv(NAME))
    batches = iter(Collector(env, None, frames_per_batch=FRAMES, total_frames=-1))
    return lambda: next(batches)


def sb3(num_envs: int) -> Callable[[], object]:
    """Stable-Baselines3's vector, written into arrays as its rollout buffer does."""
    from stable_baselines3.common.env_util import make_vec_env

    envs = make_vec_env(NAME, n_envs=num_envs, seed=0)
    state = {"now": envs.reset()}

    def batch() -> list[Any]:
        now, then = empty_batch(num_envs)
        for t in range(FRAMES // num_envs):
            now[t] = state["now"]
            state["now"], _, _, _ = envs.step([envs.action_space.sample() for _ in range(num_envs)])
            then[t] = state["now"]
        return [now, then]

    return batch


def hand_written(num_envs: int) -> Callable[[], object]:
    """A loop over bare environments."""
    envs: list[Any] = [gymnasium.make(NAME, disable_env_checker=True) for _ in range(num_envs)]
    current = [env.reset(seed=index)[0] for index, env in enumerate(envs)]
    choices = int(envs[0].action_space.n)

    def batch() -> list[Any]:
        steps = FRAMES // num_envs
        now, then = empty_batch(num_envs)
        rewards, flags = np.empty((steps, num_envs), np.float32), np.empty((2, steps, num_envs), np.bool_)
        actions = np.random.randint(choices, size=(steps, num_envs))
        for t in range(steps):
            for index, env in enumerate(envs):
                now[t, index] = current[index]
                frame, rewards[t, index], terminated, truncated, _ = env.step(actions[t, index])
                then[t, index] = frame
                flags[:, t, index] = terminated, truncated
                current[index] = env.reset()[0] if terminated or truncated else frame
        return [now, then, actions, rewards, flags]

    return batch


def empty_batch(num_envs: int) -> Any:
    """Room for the frames before and after each step."""
    return np.empty((2, FRAMES // num_envs, num_envs, 210, 160, 3), np.uint8)


MAKERS = {"rl-suite": rl_suite, "torchrl": torchrl, "sb3": sb3, "hand-written": hand_written}


def frames_per_s(library: str, num_envs: int, seconds: float) -> float:
    """One batch untimed, then batches for as long as asked."""
    collect = MAKERS[library](num_envs)
    collect()
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        collect()
        count += 1
    return count * FRAMES / (time.perf_counter() - started)


def main() -> None:
    """Time the program and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=sorted(MAKERS), required=True)
    parser.add_argument("--num-envs", type=int, nargs="+", default=[1])
    parser.add_argument("--seconds", type=float, default=2.0, help="timed for each number of envs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    gymnasium.register_envs(ale_py)
    report({label(count): frames_per_s(args.library, count, args.seconds) for count in args.num_envs}, "frames/s")


if __name__ == "__main__":
    main()
