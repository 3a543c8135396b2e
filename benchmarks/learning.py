"""Learning curves of the recipe over several seeds, beside Stable-Baselines3 where a task says so.

`python benchmarks/learning.py HalfCheetah-v5` trains every seed and writes, below `benchmarks/results/learning/`, one
CSV a run (frames, return), `<task>.png` (mean and range over seeds) and `<task>.json` (returns of the deterministic
policy).
With `--runs FOLDER` run folders that are there already are summarised instead.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt
from _paths import CASES, RESULTS
from _peers import peers_python

FOLDER = RESULTS / "learning"


@dataclass(frozen=True)
class Task:
    """One environment, its budget and the options of the recipe; `peer` are the same settings for Stable-Baselines3."""

    frames: int
    options: tuple[str, ...] = ()
    peer: tuple[str, ...] | None = None


TASKS = {
    "InvertedDoublePendulum-v5": Task(400_000),
    "HalfCheetah-v5": Task(
        1_000_000,
        ("ppo.minibatch_size=256", "env.reward_scale=1.0", "env.normalize_eps=1e-4", "optim.anneal=false"),
        ("--minibatch", "256", "--frames-per-batch", "2048", "--num-envs", "8"),
    ),
    "CartPole-v1": Task(
        150_000,
        ("collector.frames_per_batch=1024", "optim.lr=1e-3", "env.reward_scale=0.05", "env.normalize_eps=1e-4"),
    ),
    "Pendulum-v1": Task(
        300_000, ("ppo.gamma=0.95", "optim.lr=1e-3", "env.reward_scale=0.05", "env.normalize_eps=1e-4")
    ),
}


def train(name: str, task: Task, seeds: int, folder: Path) -> None:
    """One run folder a seed, by the installed command."""
    for seed in range(seeds):
        options = [f"env.name={name}", f"collector.total_frames={task.frames}", f"seed={seed}", f"run_dir={folder}"]
        command = [str(Path(sys.executable).parent / "rl-train"), "ppo", *options, *task.options]
        subprocess.run([*command, "progress=false"], check=True)


def collect(name: str, runs: list[Path]) -> list[dict[str, Any]]:
    """Copy the curve of each run folder to a CSV of its own; the evaluations of all of them."""
    records = []
    for run in runs:
        seed = int(run.name.rsplit("-", 1)[-1])
        with (run / "metrics.csv").open() as file:
            rows = [(int(r["frames"]), float(r["episode/return"])) for r in csv.DictReader(file) if r["episode/return"]]
        write_curve(FOLDER / f"rl-suite-{name}-{seed}.csv", rows)
        evaluation = json.loads((run / "evaluation.json").read_text())
        records.append({"seed": seed, "mean": evaluation["mean"], "deviation": evaluation["deviation"]})
    return sorted(records, key=lambda record: int(record["seed"]))


def train_peer(name: str, task: Task, seeds: int) -> list[dict[str, Any]]:
    """Stable-Baselines3 with the same settings; its CSVs stand beside ours."""
    records = []
    for seed in range(seeds):
        arguments = ["--env", name, "--frames", str(task.frames), "--seed", str(seed), *(task.peer or ())]
        command = [str(peers_python()), str(CASES / "learning_sb3.py"), *arguments]
        output = ["--output", str(FOLDER / f"sb3-{name}-{seed}.csv")]
        done = subprocess.run([*command, *output], check=True, capture_output=True, text=True)
        mean, deviation = done.stdout.strip().splitlines()[-1].split(": ", 1)[1].split(" over")[0].split(" +- ")
        records.append({"seed": seed, "mean": float(mean), "deviation": float(deviation)})
    return records


def write_curve(path: Path, rows: list[tuple[int, float]]) -> None:
    """Frames and mean return of the episodes that ended in the batch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["frames", "return_mean"])
        writer.writerows(rows)


def read_curve(path: Path) -> tuple[list[float], list[float]]:
    """Frames and returns of a CSV."""
    with path.open() as file:
        rows = [(float(row["frames"]), float(row["return_mean"])) for row in csv.DictReader(file)]
    return [frames for frames, _ in rows], [value for _, value in rows]


def picture(name: str, frames: int) -> None:
    """Mean and range over the seeds, ours and the peer's."""
    figure, axis = plt.subplots(figsize=(6, 3.6))
    grid = np.linspace(frames / 50, frames, 50)
    for label, prefix, colour in (("rl-suite", "rl-suite", "#2563eb"), ("Stable-Baselines3", "sb3", "#9aa3b2")):
        paths = sorted(FOLDER.glob(f"{prefix}-{name}-*.csv"))
        if paths:
            curves = np.stack([np.interp(grid, *read_curve(path)) for path in paths])
            axis.plot(grid, curves.mean(0), color=colour, label=f"{label}, mean of {len(paths)} seeds")
            axis.fill_between(grid, curves.min(0), curves.max(0), color=colour, alpha=0.18, linewidth=0)
    axis.set_title(f"{name}: return while training (band: worst to best seed)", fontsize=9)
    axis.set_xlabel("frames")
    axis.legend(fontsize=8, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(FOLDER / f"{name}.png", dpi=120)
    plt.close(figure)


def main() -> None:
    """Train or collect, then write the curves, the picture and the returns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, help="folder of finished run folders; nothing is trained")
    parser.add_argument("--peer-returns", type=Path, help="JSON with the peer's records; its curves are there already")
    args = parser.parse_args()
    task: Task = TASKS[args.task]
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.runs or Path(scratch)
        if args.runs is None:
            train(args.task, task, args.seeds, folder)
        record: dict[str, Any] = {"rl-suite": collect(args.task, [p.parent for p in folder.glob("*/evaluation.json")])}
    if args.peer_returns is not None:
        record["Stable-Baselines3"] = json.loads(args.peer_returns.read_text())
    elif task.peer is not None:
        record["Stable-Baselines3"] = train_peer(args.task, task, args.seeds)
    (FOLDER / f"{args.task}.json").write_text(json.dumps(record, indent=1) + "\n")
    picture(args.task, task.frames)
    for label, records in record.items():
        means = [float(r["mean"]) for r in records]
        values = ", ".join(f"{mean:,.0f}" for mean in means)
        print(
            f"{args.task} {label}: {values}; mean {statistics.mean(means):,.0f}, median {statistics.median(means):,.0f}"
        )


if __name__ == "__main__":
    main()
