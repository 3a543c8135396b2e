"""Measure this library beside its peers, alternating fresh processes in one run; medians, spreads and ratios.

Peers live in an environment of their own, `.cache/peers`, made from `benchmarks/peers.txt` at the first run. Results go
to `benchmarks/results/<family>.{json,md,png}` with the machine, the versions and the commit.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CASES = ROOT / "benchmarks" / "cases"
RESULTS = ROOT / "benchmarks" / "results"
PEERS = ROOT / ".cache" / "peers"


@dataclass(frozen=True)
class Contender:
    """One side of a comparison: a script of `benchmarks/cases` and the interpreter that runs it."""

    name: str
    script: str
    arguments: tuple[str, ...]
    is_peer: bool


@dataclass(frozen=True)
class Comparison:
    """The same work done by several contenders; the first is ours."""

    title: str
    contenders: tuple[Contender, ...]


def tutorial(work: str, num_envs: int) -> Comparison:
    """The MuJoCo tutorial's work, by this library, TorchRL and Stable-Baselines3."""
    common = ("--work", work, "--num-envs", str(num_envs))
    what = "collection" if work == "collection" else "PPO, whole loop"
    return Comparison(
        f"{what}, HalfCheetah-v5, {num_envs} env{'s' if num_envs > 1 else ''}",
        (
            Contender("rl-suite", "tutorial_ppo.py", ("--library", "rl-suite", *common), False),
            Contender("TorchRL", "tutorial_ppo.py", ("--library", "torchrl", *common), True),
            Contender("Stable-Baselines3", "sb3_ppo.py", common, True),
        ),
    )


FAMILIES: dict[str, tuple[Comparison, ...]] = {
    "collection": (tutorial("collection", 1), tutorial("collection", 8)),
    "ppo": (tutorial("ppo", 1), tutorial("ppo", 8)),
}


def peers_python() -> Path:
    """Interpreter of the peers' environment, which is made when it is not there or its list has changed."""
    python = PEERS / "bin" / "python"
    wanted = (ROOT / "benchmarks" / "peers.txt").read_text()
    stamp = PEERS / "peers.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        print("installing the peers into .cache/peers ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(PEERS)], check=True)
        environment = {k: v for k, v in os.environ.items() if k not in ("PIP_CONSTRAINT", "UV_CONSTRAINT")}
        requirements = str(ROOT / "benchmarks" / "peers.txt")
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-r", requirements], check=True, env=environment)
        stamp.write_text(wanted)
    return python


def measure(contender: Contender, peers: Path) -> float:
    """Frames per second of one run in a fresh process."""
    python = str(peers) if contender.is_peer else sys.executable
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [python, str(CASES / contender.script), *contender.arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=PEERS)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return float(json.loads(done.stdout.strip().splitlines()[-1])["frames_per_s"])


def compare(comparison: Comparison, rounds: int, peers: Path) -> dict[str, Any]:
    """All contenders in turn, several rounds."""
    figures: dict[str, list[float]] = {contender.name: [] for contender in comparison.contenders}
    for _ in range(rounds):
        for contender in comparison.contenders:
            figures[contender.name].append(measure(contender, peers))
    ours = figures[comparison.contenders[0].name]
    ratios = {
        name: statistics.median(a / b for a, b in zip(ours, values, strict=True)) for name, values in figures.items()
    }
    return {"title": comparison.title, "frames_per_s": figures, "ratio_of_ours": ratios}


def table(results: list[dict[str, Any]]) -> str:
    """Markdown table of medians, spreads and ratios."""
    lines = ["| work | library | frames/s, median (min to max) | rl-suite is |", "|---|---|---|---|"]
    for result in results:
        for name, values in result["frames_per_s"].items():
            spread = f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"
            lines.append(f"| {result['title']} | {name} | {spread} | {result['ratio_of_ours'][name]:.2f}x |")
    return "\n".join(lines) + "\n"


def picture(family: str, results: list[dict[str, Any]], path: Path) -> None:
    """Bars of the medians, one group a comparison."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(results), figsize=(5 * len(results), 3.2), squeeze=False)
    for axis, result in zip(axes[0], results, strict=True):
        names = list(result["frames_per_s"])
        medians = [statistics.median(result["frames_per_s"][name]) for name in names]
        bars = axis.barh(names[::-1], medians[::-1], color=["#b0b7c3"] * (len(names) - 1) + ["#2563eb"])
        axis.bar_label(bars, fmt="{:,.0f}", padding=3)
        axis.set_title(result["title"], fontsize=10)
        axis.set_xlabel("frames/s")
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.18)
    figure.suptitle(family, fontsize=9, color="grey")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    import torch

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "commit": commit.stdout.strip(),
        "peers": (ROOT / "benchmarks" / "peers.txt").read_text().split("\n")[1:],
    }


def main() -> None:
    """Run the chosen families and write their results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", default=list(FAMILIES), help=f"of {', '.join(FAMILIES)}; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="alternations of each comparison (default: 3)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args()
    unknown = set(args.families) - set(FAMILIES)
    if unknown:
        parser.error(f"unknown families {sorted(unknown)}; there are {', '.join(FAMILIES)}")
    peers = peers_python()
    args.output.mkdir(parents=True, exist_ok=True)
    for family in args.families:
        results = [compare(comparison, args.rounds, peers) for comparison in FAMILIES[family]]
        record = {"machine": machine(), "results": results}
        (args.output / f"{family}.json").write_text(json.dumps(record, indent=1) + "\n")
        (args.output / f"{family}.md").write_text(table(results))
        picture(family, results, args.output / f"{family}.png")
        print(f"{family}\n{table(results)}", flush=True)


if __name__ == "__main__":
    main()
