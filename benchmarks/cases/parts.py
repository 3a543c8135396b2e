"""Where the time of a collection step goes, for our collector or the hand-written loop; prints microseconds a step.

Each part is timed where it runs, in the midst of the others: a function that is called once a step, after a simulator
has used the caches for itself, takes two to three times what it takes in a loop of its own. The clock costs about one
microsecond a step and part. Rows of parts leave out the parts inside them; what no part claims is `the loop itself`.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
import tutorial_ppo
from _case import report
from _hand_written import Loop
from _library import load

import rl_collectors._collection_loop as collection_loop
from rl_collectors._batch_writer import BatchWriter
from rl_envs import EnvPlan, plan_policy

SIMULATOR, ADAPTER, TRANSFORMS = "simulator", "adapter of the simulator", "transforms"
POLICY, WRITING, NEXT_ROOT, REST, ALL = "policy", "writing the batch", "next root", "the loop itself", "in all"


class Clock:
    """Seconds that functions took, without those of timed functions inside them."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys((SIMULATOR, ADAPTER, TRANSFORMS, POLICY, WRITING, NEXT_ROOT), 0.0)
        self._inner = 0.0

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, its time added to `part`."""

        def run(*args: Any, **kwargs: Any) -> Any:
            outer, self._inner = self._inner, 0.0
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                taken = time.perf_counter() - started
                self.seconds[part] += taken - self._inner
                self._inner = outer + taken

        return run


def rl_suite(clock: Clock, name: str, num_envs: int) -> Callable[[], object]:
    """A batch of the collector, as `tutorial_ppo.py` makes it."""
    lib = load("rl-suite")
    env = tutorial_ppo.make_env(lib, name, num_envs)
    env.set_seed(0)
    actor, _ = tutorial_ppo.make_networks(lib, env)
    for each in env.base_env.unwrapped_envs:
        each.step = clock.timed(SIMULATOR, each.step)
    env._base_step = clock.timed(ADAPTER, env._base_step)
    env._step_calls = [clock.timed(TRANSFORMS, call) for call in env._step_calls]
    patched: Any = collection_loop
    patched.plan_policy = lambda *args, **kwargs: clock.timed(POLICY, plan_policy(*args, **kwargs))
    for kind, method, part in (
        (BatchWriter, "start", WRITING),
        (BatchWriter, "write", WRITING),
        (BatchWriter, "finish", WRITING),
        (EnvPlan, "advance", NEXT_ROOT),
    ):
        setattr(kind, method, clock.timed(part, vars(kind)[method]))
    batches = iter(lib.Collector(env, actor, frames_per_batch=tutorial_ppo.FRAMES, total_frames=-1))
    return lambda: next(batches)


def hand_written(clock: Clock, name: str, num_envs: int) -> Callable[[], object]:
    """A batch of the loop without a library."""
    loop: Any = Loop(name, num_envs, tutorial_ppo.FRAMES)
    for each in loop.envs:
        each.step = clock.timed(SIMULATOR, each.step)
    loop._step = clock.timed(ADAPTER, loop._step)
    loop._update = clock.timed(TRANSFORMS, loop._update)
    loop._normalise = clock.timed(TRANSFORMS, loop._normalise)
    loop.policy.sample = clock.timed(POLICY, loop.policy.sample)
    return lambda: loop.collect()


def microseconds(library: str, name: str, num_envs: int, seconds: float) -> dict[str, float]:
    """Of each part of a step, after one batch untimed."""
    torch.manual_seed(0)
    clock = Clock()
    collect = (rl_suite if library == "rl-suite" else hand_written)(clock, name, num_envs)
    collect()
    clock.seconds = dict.fromkeys(clock.seconds, 0.0)
    started, batches = time.perf_counter(), 0
    while batches < 1 or time.perf_counter() - started < seconds:
        collect()
        batches += 1
    whole = time.perf_counter() - started
    found = {part: taken for part, taken in clock.seconds.items() if taken}
    found[REST], found[ALL] = whole - sum(found.values()), whole
    steps = batches * tutorial_ppo.FRAMES // num_envs
    return {part: 1e6 * taken / steps for part, taken in found.items()}


def main() -> None:
    """Time the parts and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=["rl-suite", "hand-written"], required=True)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--num-envs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    report(microseconds(args.library, args.env, args.num_envs, args.seconds), "us")


if __name__ == "__main__":
    main()
