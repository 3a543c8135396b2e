"""How environments are spread over processes."""

import itertools
import os
import sys

from rl_specs import message


def available_cores() -> int:
    """Number of cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    else:
        return os.cpu_count() or 1


def split_rows(component: str, count: int, num_processes: int) -> list[slice]:
    """Consecutive rows of `count` for each process, as evenly as possible.

    Raises:
        ValueError: no process, or more than there are rows.
    """
    if not isinstance(num_processes, int) or not 1 <= num_processes <= count:
        expected = f"an integer from 1 to the number of environments, {count}"
        raise ValueError(message(component, "num_processes", expected=expected, found=num_processes))
    bounds = [count * part // num_processes for part in range(num_processes + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(bounds)]
