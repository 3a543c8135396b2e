"""What a library costs to import and to keep; prints seconds, or megabytes, for each of its packages as JSON.

Imports are timed in fresh processes, after torch and tensordict; the sum is one more process that imports all of a
library. Sizes are those of the package folders without bytecode.
"""

import argparse
import importlib.util
import statistics
import subprocess
import sys
from pathlib import Path

from _case import report

LAYERS = ("rl_specs", "rl_envs", "rl_modules", "rl_buffers", "rl_collectors", "rl_objectives", "rl_cuda", "rl_trainers")
TORCHRL = ("envs", "modules", "data", "collectors", "objectives", "trainers")
IMPORTED = {
    "rl-suite": LAYERS,
    "torchrl": ("torchrl", *(f"torchrl.{name}" for name in TORCHRL)),
    "sb3": ("stable_baselines3",),
}
FOLDERS = {"rl-suite": LAYERS, "torchrl": ("torchrl",), "sb3": ("stable_baselines3",)}
ALL = "the whole library"
TIMED = """
import tensordict, tensordict.nn, time, torch
start = time.perf_counter()
import {names}
print(time.perf_counter() - start)
"""


def import_seconds(names: tuple[str, ...], turns: int) -> float:
    """Median over fresh processes, after one that fills the bytecode cache."""
    command = [sys.executable, "-c", TIMED.format(names=", ".join(names))]

    def once() -> float:
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])

    once()
    return statistics.median(once() for _ in range(turns))


def megabytes(package: str) -> float:
    """Files of a package, without bytecode."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not installed here")
    files = (path for folder in spec.submodule_search_locations for path in Path(folder).rglob("*"))
    return sum(path.stat().st_size for path in files if path.is_file() and path.suffix != ".pyc") / 1e6


def main() -> None:
    """Measure one library and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=sorted(IMPORTED), required=True)
    parser.add_argument("--work", choices=["import", "size"], default="import")
    parser.add_argument("--turns", type=int, default=3, help="fresh processes for each package")
    args = parser.parse_args()
    names = IMPORTED[args.library]
    if args.work == "size":
        sizes = {name: megabytes(name) for name in FOLDERS[args.library]}
        values = {ALL: sum(sizes.values()), **(sizes if len(sizes) > 1 else {})}
    else:
        values = {ALL: import_seconds(names, args.turns)}
        if args.library == "rl-suite":
            values.update({name: import_seconds((name,), args.turns) for name in names})
    report(values, "MB" if args.work == "size" else "s")


if __name__ == "__main__":
    main()
