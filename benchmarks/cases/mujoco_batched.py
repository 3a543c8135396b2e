"""Steps of a batched MuJoCo environment, beside the bare `mujoco.rollout` and `mujoco.batch` that do its physics.

All take the same random actions from the model's rest; they alternate, and each one's best round counts. The last line
is JSON, `{"values": {"rl-suite": ..., "mujoco.rollout": ..., ...}, "unit": "frames/s", "cpu_us": {...}}`,
where `cpu_us` is the CPU time of a frame over all threads, which other processes on the machine disturb less.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import mujoco  # type: ignore[import-untyped]  # ships no types
import numpy as np
import torch
from mujoco import batch, rollout

from rl_envs import mujoco as tasks
from rl_envs.mujoco import MujocoEnv

Run = Callable[[np.ndarray[Any, Any]], None]


def ours(env: MujocoEnv) -> Run:
    """Steps of the environment as a collector takes them: observations, rewards and flags in new tensors."""
    env.reset()

    def run(actions: np.ndarray[Any, Any]) -> None:
        for action in torch.from_numpy(actions).float():
            env._step({"action": action})

    return run


def bare_rollout(env: MujocoEnv, frame_skip: int) -> Run:
    """Steps of `mujoco.rollout`, from states to states."""
    model, num_envs, threads = env.model, env.batch_size[0], env.num_threads
    kind = mujoco.mjtState.mjSTATE_FULLPHYSICS
    size = mujoco.mj_stateSize(model, kind)
    data = [mujoco.MjData(model) for _ in range(threads)]
    first = np.empty(size)
    mujoco.mj_getState(model, data[0], first, kind)
    pool = rollout.Rollout(nthread=threads)
    states = np.empty((num_envs, frame_skip, size))
    sensors = np.empty((num_envs, frame_skip, model.nsensordata))
    control = np.empty((num_envs, frame_skip, model.nu))

    def run(actions: np.ndarray[Any, Any]) -> None:
        state = np.tile(first, (num_envs, 1))
        for action in actions:
            control[:] = action[:, None]
            pool.rollout(
                [model] * num_envs,
                data,
                state,
                control,
                state=states,
                sensordata=sensors,
                nstep=frame_skip,
                skip_checks=True,
            )
            state = np.ascontiguousarray(states[:, -1])

    return run


def bare_batch(env: MujocoEnv, frame_skip: int) -> Run:
    """Steps of `mujoco.batch`."""
    simulations = batch.Batch(env.model, env.batch_size[0], env.num_threads)
    control = simulations.bind("ctrl")

    def run(actions: np.ndarray[Any, Any]) -> None:
        simulations.reset()
        for action in actions:
            control[:] = action
            simulations.step(nstep=frame_skip)

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="HalfCheetah", help="Ant, HalfCheetah, Hopper, ...; also AntWithoutForces")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200, help="steps of a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    name = arguments.env.removesuffix("WithoutForces")
    make = vars(tasks)[f"{name}Env"]
    options = {} if name == arguments.env else {"contact_forces": False}
    env = make(arguments.num_envs, num_threads=arguments.threads, max_episode_steps=None, **options)
    runs = {
        "rl-suite": ours(env),
        "mujoco.rollout": bare_rollout(env, make.frame_skip),
        "mujoco.batch": bare_batch(env, make.frame_skip),
    }
    low, high = env.action_spec.low[0].numpy(), env.action_spec.high[0].numpy()
    actions = np.random.default_rng(0).uniform(low, high, (arguments.steps, arguments.num_envs, len(low)))
    best, cpu = dict.fromkeys(runs, 0.0), dict.fromkeys(runs, float("inf"))
    for _ in range(arguments.rounds):
        for key, run in runs.items():
            if key == "rl-suite":
                env.reset()
            started, used = time.perf_counter(), time.process_time()
            run(actions)
            frames = arguments.steps * arguments.num_envs
            best[key] = max(best[key], frames / (time.perf_counter() - started))
            cpu[key] = min(cpu[key], (time.process_time() - used) / frames * 1e6)
    values = {key: round(value) for key, value in best.items()}
    cpu_us = {key: round(value, 1) for key, value in cpu.items()}
    print(json.dumps({"values": values, "unit": "frames/s", "cpu_us": cpu_us}))


if __name__ == "__main__":
    main()
