"""Draw a flame graph of where the time of a loop goes: collection, or PPO as a whole.

py-spy samples a fresh process that runs `benchmarks/cases/tutorial_ppo.py`; the picture goes to
`benchmarks/results/profiles/` as SVG. The start of Python and the imports are left out.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from _flame import draw, hottest, read
from _paths import CASES, RESULTS


def command(args: argparse.Namespace, stacks: Path, sampler: str) -> list[str]:
    """What py-spy is told, and the program that it samples."""
    sampling = [sampler, "record", "--rate", str(args.rate), "--format", "raw", "--output", str(stacks)]
    sampling += ["--native"] if args.native else []
    sampling += [] if args.lines else ["--function"]
    case = [sys.executable, str(CASES / "tutorial_ppo.py"), "--library", "rl-suite", "--work", args.what]
    options = ["--env", args.env, "--num-envs", str(args.num_envs), "--seconds", str(args.seconds)]
    return [*sampling, "--", *case, *options]


def find_sampler() -> str:
    """Path of py-spy, beside this interpreter or on the path.

    Raises:
        FileNotFoundError: it is not installed.
    """
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise FileNotFoundError("py-spy is not installed; `hatch run profile` brings it")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Sample, draw and print the hottest functions; py-spy's exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=["collection", "ppo"], default="collection")
    parser.add_argument("--env", default="HalfCheetah-v5", help="Gymnasium id")
    parser.add_argument("--num-envs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=15.0, help="how long the loop runs")
    parser.add_argument("--rate", type=int, default=200, help="samples a second")
    parser.add_argument("--native", action="store_true", help="show the frames of C and C++ too")
    parser.add_argument("--lines", action="store_true", help="one box a line of code instead of one a function")
    parser.add_argument("--output", type=Path, default=RESULTS / "profiles", help="folder of the SVG")
    args = parser.parse_args(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    name = f"{args.what}-{args.env.replace('/', '-')}-{args.num_envs}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        stacks = Path(folder) / "stacks"
        status = subprocess.run(command(args, stacks, find_sampler()), env=environment).returncode
        if status:
            return status
        root = read(stacks.read_text().splitlines(), "frames_per_s")
    svg = args.output / f"{name}.svg"
    svg.write_text(draw(root, f"{name.replace('-', ' ', 1)} env(s): {root.samples:,} samples"))
    print(f"{svg} ({svg.stat().st_size / 1000:.0f} kB); the most time of their own:")
    for function, share in hottest(root, 15):
        print(f"{100 * share:6.1f} %  {function}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
