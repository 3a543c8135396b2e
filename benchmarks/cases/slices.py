"""Slices drawn from a replay buffer of trajectories; prints microseconds to draw 1,024 rows in 32 slices.

Rows are those of `replay.py`, in episodes of 250 steps. With `--writes` a row is added before each draw.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from _case import report
from replay import microseconds, tensordict_rows

BATCH, SLICES, EPISODE, CHUNK = 1024, 32, 250, 10_000


def filled(buffer: Any, rows: int) -> Any:
    """A buffer with `rows` rows."""
    data = tensordict_rows((CHUNK,))
    is_last = (torch.arange(CHUNK) % EPISODE == EPISODE - 1).unsqueeze(1)
    data["next", "done"], data["next", "truncated"] = is_last, is_last.clone()
    for _ in range(rows // CHUNK):
        buffer.extend(data)
    return buffer


def rl_suite(rows: int) -> Any:
    """Ours."""
    from rl_buffers import LazyTensorStorage, SliceSampler, TensorDictReplayBuffer

    sampler = SliceSampler(num_slices=SLICES, end_key=("next", "done"))
    return filled(TensorDictReplayBuffer(storage=LazyTensorStorage(rows), sampler=sampler, batch_size=BATCH), rows)


def torchrl(rows: int) -> Any:
    """TorchRL's, with the ends of trajectories cached."""
    from torchrl.data import LazyTensorStorage, SliceSampler, TensorDictReplayBuffer

    sampler = SliceSampler(num_slices=SLICES, end_key=("next", "done"), cache_values=True)
    return filled(TensorDictReplayBuffer(storage=LazyTensorStorage(rows), sampler=sampler, batch_size=BATCH), rows)


LIBRARIES: dict[str, Callable[[int], Any]] = {"rl-suite": rl_suite, "torchrl": torchrl}


def main() -> None:
    """Time the calls and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=sorted(LIBRARIES), required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000], help="sizes of buffers, all full")
    parser.add_argument("--writes", action="store_true", help="add a row before each draw")
    parser.add_argument("--seconds", type=float, default=1.0, help="timed for each size")
    args = parser.parse_args()
    torch.set_num_threads(1)
    values = {}
    for rows in args.rows:
        buffer, row = LIBRARIES[args.library](rows), tensordict_rows(())

        def write_and_draw(buffer: Any = buffer, row: Any = row) -> None:
            buffer.add(row)
            buffer.sample()

        values[f"{rows:,} rows"] = microseconds(write_and_draw if args.writes else buffer.sample, args.seconds)
    report(values, "us")


if __name__ == "__main__":
    main()
