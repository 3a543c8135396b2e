"""The whole PPO loop of the MuJoCo tutorial with collection in this process and beside it; prints frames/s as JSON.

The two take turns, a few batches each, in one process; medians over the rounds.
"""

import argparse
import json
import statistics
import time
from functools import partial
from typing import Any

import torch
from _library import load
from tutorial_ppo import make_env, make_networks, train_on

FRAMES = 2048


class Program:
    """A collector and what learns from it.

    Args:
        env: a Gymnasium id.
        num_envs: environments stepped together.
        overlap: batches collected ahead of the learner; None collects in this process.
    """

    def __init__(self, env: str, num_envs: int, overlap: int | None) -> None:
        torch.manual_seed(0)
        lib = self._lib = load("rl-suite")
        here = make_env(lib, env, num_envs)
        actor, critic = make_networks(lib, here)
        source = here if overlap is None else partial(make_env, lib, env, num_envs)
        self.collector = lib.Collector(source, actor, frames_per_batch=FRAMES, overlap=overlap)
        self.collector.set_seed(0)
        loss = lib.ClipPPOLoss(actor, critic, entropy_coeff=0.01, critic_coeff=0.5, normalize_advantage=True)
        self._parts: dict[str, Any] = {
            "gae": lib.GAE(gamma=0.99, lmbda=0.95, value_network=critic, average_gae=False),
            "buffer": lib.TensorDictReplayBuffer(
                storage=lib.LazyTensorStorage(FRAMES), sampler=lib.SamplerWithoutReplacement(), batch_size=256
            ),
            "loss": loss,
            "optim": torch.optim.Adam(loss.parameters(), lr=3e-4, eps=1e-5),
        }

    def frames_per_s(self, batches: int) -> float:
        """Frames per second over some batches, after one that fills what lies ahead."""
        start = 0.0
        for number in range(batches + 1):
            train_on(self._lib, self.collector.rollout(), self._parts)
            self.collector.update_policy_weights_()
            if number == 0:
                start = time.perf_counter()
        seconds = time.perf_counter() - start
        self.collector.state_dict()  # the other one is timed without this one's worker
        return batches * FRAMES / seconds


def main() -> None:
    """Time both and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--num-envs", type=int, default=1)
    parser.add_argument("--overlap", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=4, help="of each round")
    args = parser.parse_args()
    torch.set_num_threads(1)
    programs = {
        "in this process": Program(args.env, args.num_envs, None),
        f"overlap={args.overlap}": Program(args.env, args.num_envs, args.overlap),
    }
    found: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(args.rounds + 1):
        for name, program in programs.items():
            value = program.frames_per_s(args.batches)
            if number:
                found[name].append(value)
    for program in programs.values():
        program.collector.shutdown()
    values = {f"{args.num_envs} envs, {name}": statistics.median(rates) for name, rates in found.items()}
    first, second = values.values()
    print(json.dumps({"values": values, "unit": "frames/s", "ratio": second / first, "rounds": found}))


if __name__ == "__main__":
    main()
