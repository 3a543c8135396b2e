"""A replay buffer of a million full rows; prints microseconds to add a row, to extend by 1,000 and to sample 256.

A row is an observation of 17 numbers, an action of 6, the next observation, reward and three flags, as a half-cheetah
gives; libraries that store fewer flags do less. What a library has no call for is left out.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from _case import report

ROWS, CHUNK, SAMPLE = 1_000_000, 1000, 256
OBSERVATION, ACTION = 17, 6
LABELS = {"add": "add 1 row", "extend": f"extend by {CHUNK:,}", "sample": f"sample {SAMPLE}"}
Calls = dict[str, Callable[[], Any]]


def tensordict_rows(size: tuple[int, ...]) -> Any:
    """Rows as both TensorDict libraries store them."""
    from tensordict import TensorDict

    flags = {name: torch.zeros(*size, 1, dtype=torch.bool) for name in ("done", "terminated", "truncated")}
    following = {"observation": torch.randn(*size, OBSERVATION), "reward": torch.randn(*size, 1), **flags}
    root = {"observation": torch.randn(*size, OBSERVATION), "action": torch.randn(*size, ACTION)}
    return TensorDict({**root, "next": following}, size)


def tensordict_calls(buffer: Any) -> Calls:
    """Ours or TorchRL's, filled."""
    row, rows = tensordict_rows(()), tensordict_rows((CHUNK,))
    for _ in range(ROWS // CHUNK):
        buffer.extend(rows)
    return {"add": lambda: buffer.add(row), "extend": lambda: buffer.extend(rows), "sample": buffer.sample}


def rl_suite(folder: str | None) -> Calls:
    """Ours, in memory or in files."""
    from rl_buffers import LazyMemmapStorage, LazyTensorStorage, TensorDictReplayBuffer

    storage = LazyTensorStorage(ROWS) if folder is None else LazyMemmapStorage(ROWS, scratch_dir=folder)
    return tensordict_calls(TensorDictReplayBuffer(storage=storage, batch_size=SAMPLE))


def torchrl(folder: str | None) -> Calls:
    """TorchRL's, with the same storage."""
    from torchrl.data import LazyMemmapStorage, LazyTensorStorage, TensorDictReplayBuffer

    storage = LazyTensorStorage(ROWS) if folder is None else LazyMemmapStorage(ROWS, scratch_dir=folder)
    return tensordict_calls(TensorDictReplayBuffer(storage=storage, batch_size=SAMPLE))


def sb3(folder: str | None) -> Calls:
    """Stable-Baselines3's, which adds one step of its environments at a time."""
    from gymnasium.spaces import Box
    from stable_baselines3.common.buffers import ReplayBuffer

    spaces = [Box(-np.inf, np.inf, (size,), np.float32) for size in (OBSERVATION, ACTION)]
    buffer = ReplayBuffer(ROWS, *spaces, device="cpu", n_envs=1)
    before, after = np.random.randn(2, 1, OBSERVATION).astype(np.float32)
    action, reward = np.random.randn(1, ACTION).astype(np.float32), np.ones(1, np.float32)
    row = (before, after, action, reward, np.zeros(1, bool), [{"TimeLimit.truncated": False}])
    for _ in range(ROWS):
        buffer.add(*row)
    return {"add": lambda: buffer.add(*row), "sample": lambda: buffer.sample(SAMPLE)}


def cpprb(folder: str | None) -> Calls:
    """cpprb's, in C++; it samples numpy arrays."""
    from cpprb import ReplayBuffer

    shapes = {"obs": OBSERVATION, "act": ACTION, "next_obs": OBSERVATION, "rew": 1}
    layout = {name: {"shape": size} for name, size in shapes.items()}
    flags = {name: {"dtype": bool} for name in ("done", "terminated", "truncated")}
    buffer = ReplayBuffer(ROWS, {**layout, **flags})

    def rows(count: int) -> dict[str, Any]:
        floats = {name: np.random.randn(count, size).astype(np.float32) for name, size in shapes.items()}
        return {**floats, **{name: np.zeros(count, bool) for name in flags}}

    row, many = rows(1), rows(CHUNK)
    for _ in range(ROWS // CHUNK):
        buffer.add(**many)
    return {
        "add": lambda: buffer.add(**row),
        "extend": lambda: buffer.add(**many),
        "sample": lambda: buffer.sample(SAMPLE),
    }


LIBRARIES = {"rl-suite": rl_suite, "torchrl": torchrl, "sb3": sb3, "cpprb": cpprb}


def microseconds(call: Callable[[], Any], seconds: float) -> float:
    """Median over rounds of twenty calls, for as long as asked."""
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < until:
        start = time.perf_counter()
        for _ in range(20):
            call()
        times.append((time.perf_counter() - start) / 20)
    return 1e6 * statistics.median(times)


def main() -> None:
    """Time the calls and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=sorted(LIBRARIES), required=True)
    parser.add_argument("--memmap", action="store_true", help="rows in files; for TensorDict libraries")
    parser.add_argument("--seconds", type=float, default=1.0, help="timed for each call")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        calls = LIBRARIES[args.library](folder if args.memmap else None)
        report({LABELS[name]: microseconds(call, args.seconds) for name, call in calls.items()}, "us")


if __name__ == "__main__":
    main()
