"""Times of calls that work on a device while the host goes on, and the memory bandwidth that they can reach."""

import argparse
import time
from collections.abc import Callable, Sequence

import torch

BATCHES = (256, 1024, 4096, 16_384, 65_536)

Call = Callable[[], object]


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_per_call(call: Call, device: torch.device, seconds: float) -> float:
    """Mean over as many calls as fit into the time, after a few that are not counted."""
    for _ in range(5):
        call()
    wait(device)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for _ in range(20):
            call()
        count += 20
        wait(device)
    return (time.perf_counter() - started) / count


def bandwidth(device: torch.device) -> float:
    """Bytes a second that a large copy reads and writes."""
    copied = 1 << (30 if device.type == "cuda" else 26)
    source = torch.zeros(copied // 8, dtype=torch.float64, device=device)
    target = torch.empty_like(source)
    return 2 * copied / seconds_per_call(lambda: target.copy_(source), device, 0.5)


def size_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where, how large and how long."""
    parser.add_argument("--device", default="cuda", help="cuda, cuda:0, ...; or cpu")
    parser.add_argument("--leaves", type=int, nargs="+", default=[20, 26], help="powers of two")
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--seconds", type=float, default=0.5, help="given to each size")


def each_size(leaves: Sequence[int], batches: Sequence[int], figure: Callable[[int, int], float]) -> dict[str, float]:
    """A figure for every number of leaves, of which the powers of two are given, and every size of batch."""
    return {
        f"2^{power} leaves, {batch:,}": round(figure(1 << power, batch), 2) for power in leaves for batch in batches
    }
