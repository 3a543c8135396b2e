"""Threads and processes write, draw, prioritize and save at once; every row read must be whole, and memory flat.

    python benchmarks/stress_buffers.py --seconds 1800 --processes 2 --output benchmarks/results

Each row carries its number three times, in entries of different dtypes and tables. Threads share a prioritized buffer
with prefetching; at the same time processes share a buffer in files. Prints one line of JSON, and writes with
`--output` what happened in each thirtieth of the time as `stress.csv` and `stress.md`; the exit status is 1 where a
row was torn, a thread or process failed, or memory grew.
"""

import argparse
import csv
import json
import os
import platform
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
PARTS = 30
"""Parts of the time for which memory and calls are noted."""
GROWTH = 48 * 2**20
"""Bytes by which resident memory may exceed that of the first fifth: allocators and saves in flight."""


def rows(first: int, count: int) -> TensorDict:
    """Rows that carry their number three times."""
    numbers = torch.arange(first, first + count)
    wide = numbers.double().view(-1, 1).expand(-1, 300)
    return TensorDict({"a": numbers, "in": {"b": wide, "c": (numbers % 251).to(torch.uint8)}}, [count])


def torn(batch: Any) -> int:
    """How many rows of a batch are not whole."""
    number = batch["a"]
    is_whole = (batch["in", "b"] == number.view(-1, 1)).all(1) & (batch["in", "c"].long() == number % 251)
    return int((~is_whole).sum())


def resident() -> int:
    """Resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Team:
    """Threads that do something again and again until time is up.

    Args:
        seconds: how long.
    """

    def __init__(self, seconds: float) -> None:
        self._start, self._seconds = time.monotonic(), seconds
        self._lock = threading.Lock()
        self._rows, self._torn, self._peak = 0, 0, 0
        self._counts: dict[str, int] = {}
        self.errors: list[str] = []
        self.parts: list[dict[str, int]] = []

    def check(self, batch: Any) -> None:
        """Count the rows of a batch, and those that are not whole."""
        found = torn(batch)
        with self._lock:
            self._rows += len(batch)
            self._torn += found

    def run(self, steps: dict[str, Callable[[int], object]]) -> dict[str, Any]:
        """Run one thread for each step, and note memory meanwhile; what happened in each part of the time."""
        self._counts = dict.fromkeys(steps, 0)
        threads = [threading.Thread(target=self._work, args=item, name=item[0]) for item in steps.items()]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            self._peak = max(self._peak, resident())
            while len(self.parts) < min(PARTS - 1, int(PARTS * self._elapsed() / self._seconds)):
                self._end_part()
            time.sleep(0.05)
        for thread in threads:
            thread.join()
        while len(self.parts) < PARTS:
            self._end_part()
        return {"parts": self.parts, "errors": self.errors}

    def _elapsed(self) -> float:
        return time.monotonic() - self._start

    def _work(self, name: str, step: Callable[[int], object]) -> None:
        try:
            while self._elapsed() < self._seconds and not self.errors:
                step(self._counts[name])
                self._counts[name] += 1
        except BaseException as error:
            self.errors.append(f"{name}: {type(error).__name__}: {error}")

    def _end_part(self) -> None:
        with self._lock:
            second = round(self._seconds * (len(self.parts) + 1) / PARTS)
            part = {"second": second, "resident": max(self._peak, resident())}
            self.parts.append(part | {"rows read": self._rows, "rows torn": self._torn} | self._counts)
            self._peak = 0


def threads(seconds: float, folder: Path) -> dict[str, Any]:
    """Writers, readers that set priorities, and one that saves, on one buffer."""
    buffer = TensorDictPrioritizedReplayBuffer(
        alpha=0.7, beta=0.5, storage=LazyTensorStorage(ROWS), batch_size=BATCH, prefetch=2
    )
    buffer.extend(rows(0, ROWS))
    team = Team(seconds)

    def read(count: int) -> None:
        batch = buffer.sample()
        team.check(batch)
        batch["td_error"] = torch.rand(len(batch))
        buffer.update_tensordict_priority(batch)

    def save(count: int) -> None:
        buffer.dumps(folder)
        time.sleep(0.2)

    steps: dict[str, Callable[[int], object]] = {
        "extend": lambda count: buffer.extend(rows(CHUNK * count, CHUNK)),
        "add": lambda count: buffer.add(rows(count, 1)[0]),
        "replace": lambda count: buffer.__setitem__(slice(100, 120), rows(count, 20)),
        "read": read,
        "read too": read,
        "save": save,
    }
    report = team.run(steps)
    buffer.close()
    return report


def worker(number: int, seconds: float, folder: Path) -> None:
    """One of several processes on the same files: even ones write, odd ones read. Leaves its report in the folder."""
    storage = LazyMemmapStorage(ROWS, scratch_dir=folder / "rows", shared_init=True)
    buffer = TensorDictReplayBuffer(storage=storage, sampler=SamplerWithoutReplacement(), batch_size=BATCH)
    buffer.extend(rows(0, BATCH))
    team = Team(seconds)
    steps: dict[str, Callable[[int], object]]
    if number % 2:
        steps = {"read in a process": lambda count: team.check(buffer.sample())}
    else:
        steps = {
            "extend in a process": lambda count: buffer.extend(rows(CHUNK * count, CHUNK)),
            "replace in a process": lambda count: buffer.__setitem__(slice(0, 20), rows(count, 20)),
        }
    report = team.run(steps)
    buffer.close()
    (folder / f"report-{number}.json").write_text(json.dumps(report))


def growth(parts: list[dict[str, int]]) -> int:
    """Bytes by which the second half of the time exceeds the first fifth."""
    memory = [part["resident"] for part in parts]
    fifth = max(1, len(memory) // 5)
    return max(memory[len(memory) // 2 :]) - max(memory[:fifth])


def table(reports: list[dict[str, Any]]) -> list[dict[str, int]]:
    """One line for each part of the time: memory of each process in MiB, and how often all of them did what so far."""
    lines = []
    for number in range(PARTS):
        line = {"second": reports[0]["parts"][number]["second"]}
        for place, report in enumerate(reports):
            line[f"process {place}, MiB"] = round(report["parts"][number]["resident"] / 2**20)
        for report in reports:
            for key, count in report["parts"][number].items():
                if key not in ("second", "resident"):
                    line[key] = line.get(key, 0) + count
        lines.append(line)
    return lines


def write(folder: Path, lines: list[dict[str, int]], summary: dict[str, Any], seconds: float) -> None:
    """`stress.csv` and `stress.md`."""
    with (folder / "stress.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    text = [f"| {' | '.join(lines[0])} |", f"|{' --- |' * len(lines[0])}"]
    text += [f"| {' | '.join(f'{value:,}' for value in line.values())} |" for line in lines]
    text += [
        "",
        f"Replay buffers under stress for {seconds:,.0f} seconds. Threads of process 0 share a prioritized buffer with",
        f"prefetching, the other processes share one in files; each has {ROWS:,} rows, overwritten all the time,",
        "and every row of every batch is checked. Memory is the most that was resident since the line before; rows and",
        "calls are counted from the start.",
        "",
        f"Most by which the second half exceeds the first fifth in any process: {summary['grown_mib']} MiB. Errors:",
        f"{'; '.join(summary['errors']) or 'none'}. Python {platform.python_version()}, torch {torch.__version__}, "
        f"{len(os.sched_getaffinity(0))} cores shared with other work.",
    ]
    (folder / "stress.md").write_text("\n".join(text) + "\n")


def run(seconds: float, processes: int, folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Threads in this process and other processes at once: their reports, and what went wrong."""
    command = [sys.executable, __file__, "--seconds", str(seconds), "--folder", str(folder), "--worker"]
    others = [subprocess.Popen([*command, str(number)]) for number in range(processes)]
    try:
        reports = [threads(seconds, folder / "threads")]
        errors = [f"a process ended with {code}" for other in others if (code := other.wait(seconds + 200))]
    finally:
        for other in others:
            other.kill()
    reports += [json.loads(file.read_text()) for file in sorted(folder.glob("report-*.json"))]
    return reports, errors + [error for report in reports for error in report["errors"]]


def main() -> int:
    """Start the processes, run the threads, and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1800.0, help="how long each thread and process works")
    parser.add_argument("--processes", type=int, default=2, help="that share the buffer in files, beside this one")
    parser.add_argument("--output", type=Path, help="a folder for stress.csv and stress.md")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.worker is not None:
        worker(args.worker, args.seconds, args.folder)
        return 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        reports, errors = run(args.seconds, args.processes, Path(name))
    lines, grown = table(reports), max(growth(report["parts"]) for report in reports)
    calls = {key: count for key, count in lines[-1].items() if key != "second" and "MiB" not in key}
    rows_torn = calls.pop("rows torn")
    if rows_torn:
        errors.append(f"{rows_torn} rows were torn")
    if args.seconds >= 60 and grown > GROWTH:  # before that, memory that is used again is still being allocated
        errors.append(f"memory grew by {grown / 2**20:.0f} MiB")
    summary = {"calls": calls, "errors": errors, "grown_mib": round(grown / 2**20, 1)}
    print(json.dumps(summary))
    if args.output is not None:
        write(args.output, lines, summary, args.seconds)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
