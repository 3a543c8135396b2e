"""Threads and processes write, draw, prioritize and save at once; every row read must be whole, and memory flat.

    python benchmarks/stress_buffers.py --seconds 1800

Each row carries its number three times, in entries of different dtypes and tables. Threads share a prioritized buffer
with prefetching; at the same time processes share a buffer in files. Prints one line of JSON; the
exit status is 1 where a row was torn, a thread or process failed, or memory grew.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict

from rl_buffers import (
    LazyMemmapStorage,
    LazyTensorStorage,
    SamplerWithoutReplacement,
    TensorDictPrioritizedReplayBuffer,
    TensorDictReplayBuffer,
)

ROWS, CHUNK, BATCH = 20_000, 200, 256
GROWTH = 48 * 2**20
"""Bytes by which resident memory may exceed that of the first fifth: allocators and saves in flight."""


def rows(first: int, count: int) -> TensorDict:
    """Rows that carry their number three times."""
    numbers = torch.arange(first, first + count)
    wide = numbers.double().view(-1, 1).expand(-1, 300)
    return TensorDict({"a": numbers, "in": {"b": wide, "c": (numbers % 251).to(torch.uint8)}}, [count])


def check(batch: Any) -> None:
    """Raise where a row is not whole."""
    number = batch["a"]
    is_whole = (batch["in", "b"] == number.view(-1, 1)).all() and torch.equal(batch["in", "c"].long(), number % 251)
    if not is_whole:
        raise AssertionError("a row is torn")


def resident() -> int:
    """Resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Team:
    """Threads that do something again and again until time is up.

    Args:
        seconds: how long.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.counts: dict[str, int] = {}
        self.errors: list[str] = []
        self.memory: list[int] = []

    def _work(self, name: str, step: Callable[[int], object]) -> None:
        count = 0
        try:
            while time.monotonic() < self._end and not self.errors:
                step(count)
                count += 1
        except BaseException as error:
            self.errors.append(f"{name}: {type(error).__name__}: {error}")
        self.counts[name] = count

    def run(self, steps: dict[str, Callable[[int], object]]) -> None:
        """Run one thread for each step, and note memory meanwhile."""
        threads = [threading.Thread(target=self._work, args=item, name=item[0]) for item in steps.items()]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            self.memory.append(resident())
            time.sleep(0.05)
        for thread in threads:
            thread.join()

    def growth(self) -> int:
        """Bytes by which the second half of the time exceeds the first fifth."""
        fifth = max(1, len(self.memory) // 5)
        return max(self.memory[len(self.memory) // 2 :]) - max(self.memory[:fifth])


def threads(seconds: float, folder: Path) -> Team:
    """Writers, readers that set priorities, and one that saves, on one buffer."""
    buffer = TensorDictPrioritizedReplayBuffer(
        alpha=0.7, beta=0.5, storage=LazyTensorStorage(ROWS), batch_size=BATCH, prefetch=2
    )
    buffer.extend(rows(0, ROWS))

    def read(count: int) -> None:
        batch = buffer.sample()
        check(batch)
        batch["td_error"] = torch.rand(len(batch))
        buffer.update_tensordict_priority(batch)

    def save(count: int) -> None:
        buffer.dumps(folder)
        time.sleep(0.2)

    team = Team(seconds)
    steps: dict[str, Callable[[int], object]] = {
        "extend": lambda count: buffer.extend(rows(CHUNK * count, CHUNK)),
        "add": lambda count: buffer.add(rows(count, 1)[0]),
        "replace": lambda count: buffer.__setitem__(slice(100, 120), rows(count, 20)),
        "read": read,
        "read too": read,
        "save": save,
    }
    team.run(steps)
    buffer.close()
    return team


def worker(number: int, seconds: float, folder: Path) -> None:
    """One of several processes on the same files: even ones write, odd ones read. Leaves its report in the folder."""
    storage = LazyMemmapStorage(ROWS, scratch_dir=folder / "rows", shared_init=True)
    buffer = TensorDictReplayBuffer(storage=storage, sampler=SamplerWithoutReplacement(), batch_size=BATCH)
    buffer.extend(rows(0, BATCH))
    team = Team(seconds)
    if number % 2:
        team.run({"read in a process": lambda count: check(buffer.sample())})
    else:
        team.run({"extend in a process": lambda count: buffer.extend(rows(CHUNK * count, CHUNK))})
    report = {"calls": team.counts, "errors": team.errors, "grown": team.growth()}
    (folder / f"report-{number}.json").write_text(json.dumps(report))


def main() -> int:
    """Start the processes, run the threads, and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800.0, help="how long each thread and process works")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.worker is not None:
        worker(args.worker, args.seconds, args.folder)
        return 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        command = [sys.executable, __file__, "--seconds", str(args.seconds), "--folder", name, "--worker"]
        others = [subprocess.Popen([*command, str(number)]) for number in range(args.processes)]
        try:
            team = threads(args.seconds, Path(name) / "threads")
            errors = [f"a process ended with {code}" for other in others if (code := other.wait(args.seconds + 200))]
        finally:
            for other in others:
                other.kill()
        calls, grown = dict(team.counts), [team.growth()]
        errors += team.errors
        for file in sorted(Path(name).glob("report-*.json")):
            report = json.loads(file.read_text())
            errors += report["errors"]
            grown.append(report["grown"])
            for key, count in report["calls"].items():
                calls[key] = calls.get(key, 0) + count
    if args.seconds >= 60 and max(grown) > GROWTH:  # before that, memory that is used again is still being allocated
        errors.append(f"memory grew by {max(grown) / 2**20:.0f} MiB")
    print(json.dumps({"calls": calls, "errors": errors, "grown_mib": round(max(grown) / 2**20, 1)}))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
