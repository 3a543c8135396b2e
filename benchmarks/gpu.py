"""Everything that only a GPU can show of rl-cuda, in one command: `hatch run python benchmarks/gpu.py`.

First the kernels are compared with plain torch, then the same under compute-sanitizer of the CUDA toolkit (memcheck: no
access out of bounds; racecheck: no race in shared memory; synccheck: no thread that others wait for in vain), then
`hatch run bench trees` is run. What was found goes to `kernels.md` beside the times.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import run
from _paths import CASES, QUICK, RESULTS
from _peers import peers_python

TOOLS: dict[str, tuple[str, ...]] = {
    "memcheck": ("--report-api-errors", "no"),  # calls that torch tries, and that may fail, are not ours
    "racecheck": (),
    "synccheck": (),
}
"""Tools of compute-sanitizer, with options of their own."""


@dataclass(frozen=True)
class Check:
    """One run of the comparisons: under which tool, whether it passed (none: it did not run), and its last words."""

    name: str
    is_passed: bool | None
    words: str


def find_sanitizer() -> str | None:
    """compute-sanitizer on PATH, in CUDA_HOME or in /usr/local/cuda."""
    homes = [home for home in (os.environ.get("CUDA_HOME"), "/usr/local/cuda") if home]
    places = ["compute-sanitizer", *(f"{home}/bin/compute-sanitizer" for home in homes)]
    return next(filter(None, map(shutil.which, places)), None)


def check(name: str, prefix: Sequence[str], device: str, timeout_s: float) -> Check:
    """Compare the kernels with plain torch, with `prefix` before the command.

    Every tensor has memory of its own meanwhile, so that an access past the end of one is no access to another.
    """
    command = [*prefix, sys.executable, str(CASES / "check_kernels.py"), "--device", device]
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return Check(name, False, f"stopped after {timeout_s:g} s")
    lines = (done.stdout + done.stderr).strip().splitlines() or ["no output"]
    return Check(name, done.returncode == 0, lines[-1])


def all_checks(device: str, timeout_s: float) -> list[Check]:
    """The comparisons by themselves and under each tool; the tools only where there is something for them to watch."""
    found = [check("comparisons", [], device, timeout_s)]
    sanitizer = find_sanitizer()
    for tool, options in TOOLS.items():
        if device == "cpu" or sanitizer is None:
            words = "there is no GPU at work" if device == "cpu" else "compute-sanitizer was not found; set CUDA_HOME"
            found.append(Check(tool, None, words))
        else:
            found.append(check(tool, [sanitizer, "--tool", tool, "--error-exitcode", "9", *options], device, timeout_s))
    return found


def table(checks: Sequence[Check]) -> str:
    """The checks as Markdown."""
    outcome = {True: "passed", False: "**failed**", None: "not run"}
    rows = [f"| {each.name} | {outcome[each.is_passed]} | {each.words} |" for each in checks]
    return "\n".join(["| check | outcome | last words |", "| --- | --- | --- |", *rows]) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Check, then measure; 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cpu to try the command itself on a machine without a GPU")
    parser.add_argument("--timeout", type=float, default=1200.0, help="seconds given to each check")
    parser.add_argument("--only-checks", action="store_true", help="measure nothing")
    parser.add_argument("--quick", action="store_true", help="small measurements only")
    parser.add_argument("--output", type=Path, help="folder of the results; as of `hatch run bench`")
    parser.add_argument("--peers", type=Path, help="as of `hatch run bench`")
    args = parser.parse_args(argv)
    folder = (args.output or (QUICK if args.quick else RESULTS)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    checks = all_checks(args.device, args.timeout)
    text = table(checks)
    (folder / "kernels.md").write_text(text)
    print(text, flush=True)
    status = 1 if any(each.is_passed is False for each in checks) else 0
    if args.only_checks:
        return status
    options = ["trees", "--output", str(folder)]
    options += ["--quick"] if args.quick else []
    return run.main([*options, "--peers", str(args.peers or peers_or_none())]) or status


def peers_or_none() -> Path:
    """Interpreter of the peers; or this one, which has none, where they cannot be installed, without a network say."""
    try:
        return peers_python()
    except subprocess.CalledProcessError as error:
        print(f"the peers are not measured, as they could not be installed: {error}", flush=True)
        return Path(sys.executable)


if __name__ == "__main__":
    sys.exit(main())
