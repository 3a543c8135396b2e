"""Draws by priority from a full replay buffer; prints microseconds to sample 256 rows and set their priorities.

Rows are those of `replay.py`, their priorities uniform in [0, 1], alpha 0.6 and beta 0.4. TorchRL's sampler runs with
the C++ extension of its wheel. Where that misses functions in this torch, which are those of differentiable functions
and not called here, they are stood in for, which takes a C compiler.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _case import report
from _stand_ins import AUTOGRAD, make_loadable
from replay import ACTION, CHUNK, OBSERVATION, SAMPLE, microseconds, tensordict_rows

ALPHA, BETA = 0.6, 0.4


def tensordict_cycle(buffer: Any, rows: int) -> Callable[[], None]:
    """Ours or TorchRL's, filled: a batch, priorities written to it, and their update."""
    data = tensordict_rows((CHUNK,))
    for _ in range(rows // CHUNK):
        buffer.extend(data)
    for start in range(0, rows, CHUNK):
        buffer.update_priority(torch.arange(start, start + CHUNK), torch.rand(CHUNK))
    priorities = torch.rand(64, SAMPLE)
    calls = 0

    def cycle() -> None:
        nonlocal calls
        batch = buffer.sample()
        batch["td_error"] = priorities[calls % 64]
        buffer.update_tensordict_priority(batch)
        calls += 1

    return cycle


def rl_suite(rows: int) -> Callable[[], None]:
    """Ours."""
    from rl_buffers import LazyTensorStorage, TensorDictPrioritizedReplayBuffer

    storage = LazyTensorStorage(rows)
    buffer = TensorDictPrioritizedReplayBuffer(alpha=ALPHA, beta=BETA, storage=storage, batch_size=SAMPLE)
    return tensordict_cycle(buffer, rows)


def torchrl(rows: int) -> Callable[[], None]:
    """TorchRL's, with the same storage in memory and the sum tree of its C++ extension."""
    make_loadable("torchrl", "_torchrl", may_miss=AUTOGRAD)
    from torchrl.data import LazyTensorStorage, TensorDictPrioritizedReplayBuffer

    storage = LazyTensorStorage(rows)
    buffer = TensorDictPrioritizedReplayBuffer(alpha=ALPHA, beta=BETA, storage=storage, batch_size=SAMPLE)
    return tensordict_cycle(buffer, rows)


def cpprb(rows: int) -> Callable[[], None]:
    """cpprb's, in C++; it samples numpy arrays."""
    from cpprb import PrioritizedReplayBuffer

    shapes = {"obs": OBSERVATION, "act": ACTION, "next_obs": OBSERVATION, "rew": 1}
    layout = {name: {"shape": size} for name, size in shapes.items()}
    flags = {name: {"dtype": bool} for name in ("done", "terminated", "truncated")}
    buffer = PrioritizedReplayBuffer(rows, {**layout, **flags}, alpha=ALPHA)
    floats = {name: np.random.randn(CHUNK, size).astype(np.float32) for name, size in shapes.items()}
    data = {**floats, **{name: np.zeros(CHUNK, bool) for name in flags}}
    for _ in range(rows // CHUNK):
        buffer.add(**data, priorities=np.random.rand(CHUNK).astype(np.float32))
    priorities = np.random.rand(64, SAMPLE).astype(np.float32)
    calls = 0

    def cycle() -> None:
        nonlocal calls
        batch = buffer.sample(SAMPLE, beta=BETA)
        buffer.update_priorities(batch["indexes"], priorities[calls % 64])
        calls += 1

    return cycle


LIBRARIES: dict[str, Callable[[int], Callable[[], None]]] = {"rl-suite": rl_suite, "torchrl": torchrl, "cpprb": cpprb}


def main() -> None:
    """Time the calls and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=sorted(LIBRARIES), required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[300_000, 1_000_000], help="sizes of buffers, all full")
    parser.add_argument("--seconds", type=float, default=1.0, help="timed for each size")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cycles = {f"{rows:,} rows": LIBRARIES[args.library](rows) for rows in args.rows}
    report({label: microseconds(cycle, args.seconds) for label, cycle in cycles.items()}, "us")


if __name__ == "__main__":
    main()
