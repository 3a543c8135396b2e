"""Pictures of runs: the curves of one, and several compared."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rl_trainers.config_check import iterate_options
from rl_trainers.metrics import WALL_CLOCK_PREFIX, read_metrics
from rl_trainers.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS: Mapping[str, str] = {
    "episode/return": "return",
    "episode/length": "episode length [steps]",
    "loss/objective": "policy loss",
    "loss/critic": "critic loss",
    "policy/entropy": "entropy [nats]",
    "policy/kl": "approximate KL [nats]",
    "policy/clip_fraction": "clip fraction",
    "time/frames_per_s": "speed [frames/s]",
}
NOT_COMPARED = (
    "seed",
    "run_dir",
    "run_name",
    "progress",
    "record_video",
    "torch_threads",
    "evaluation.",
    "logger.",
    "checkpoint.",
)
"""Options, or groups of them, that do not make runs differ."""

GRID_POINTS = 200


def _figure(panels: int) -> "tuple[Figure, list[Axes]]":
    """A figure that needs no display and leaves pyplot's state alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(panels, 4)
    rows = -(-panels // columns)
    figure = Figure(figsize=(4 * columns, 3.2 * rows))
    figure.subplots_adjust(left=0.05, right=0.99, top=0.9, bottom=0.12, wspace=0.25, hspace=0.45)
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(rows, columns, index + 1) for index in range(panels)]


def _dress(axis: "Axes", title: str) -> None:
    """Title, grid, and frames as 50k or 1M."""
    from matplotlib.ticker import EngFormatter

    axis.set_title(title, fontsize=10)
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)


def _present(values: Sequence[float], frames: Sequence[float]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    y, x = np.asarray(values, dtype=float), np.asarray(frames, dtype=float)
    is_there = np.isfinite(y)
    return x[is_there], y[is_there]


def smooth(values: np.ndarray[Any, Any], window: int) -> np.ndarray[Any, Any]:
    """Centred moving mean; the window shrinks at the ends.

    Args:
        values: `[N]`.
        window: samples taken together.
    Returns:
        `[N]`.
    """
    if window <= 1 or len(values) < 3:
        return values
    kernel = np.ones(min(window, len(values)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def plot_run(run: RunFolder, output: Path | None = None) -> Path:
    """Draw return, length, losses, entropy, KL, clip fraction and speed of one run.

    Args:
        run: a run with metrics.
        output: the picture; `curve.png` in the run folder if not given.
    Returns:
        Where the picture is.
    Raises:
        MetricsError: there are no metrics.
    """
    metrics = read_metrics(run.metrics_file)
    figure, axes = _figure(len(PANELS))
    for axis, (name, label) in zip(axes, PANELS.items(), strict=True):
        x, y = _present(metrics.get(name, [np.nan] * len(metrics["frames"])), metrics["frames"])
        axis.plot(x, y, linewidth=0.8, alpha=0.4, color="tab:blue")
        axis.plot(x, smooth(y, 9), linewidth=1.6, color="tab:blue")
        _dress(axis, label)
    figure.suptitle(f"{run.path.name}, over frames", fontsize=11)
    target = output or run.curve_file
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=100)
    return target


def group_runs(runs: Sequence[RunFolder]) -> dict[str, list[RunFolder]]:
    """Runs that differ in nothing but the seed, under a label that says how the groups differ.

    Args:
        runs: finished or unfinished runs.
    Returns:
        Label (environment, and the options in which groups differ) to runs, in the order given.
    """
    options = [
        {item.key: item.value for item in iterate_options(run.config()) if not item.key.startswith(NOT_COMPARED)}
        for run in runs
    ]
    differing = [key for key in options[0] if key != "env.name" and any(o[key] != options[0][key] for o in options)]
    groups: dict[str, list[RunFolder]] = {}
    for run, values in zip(runs, options, strict=True):
        label = " ".join([str(values["env.name"]), *(f"{key}={values[key]}" for key in differing)])
        groups.setdefault(label, []).append(run)
    return groups


def mean_and_band(
    curves: Sequence[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]],
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Mean and standard deviation over runs, at common frames.

    Args:
        curves: `(frames, values)` of each run, frames rising; at least one, none empty.
    Returns:
        Frames `[G]` in the range that all curves cover, mean `[G]`, and deviation over runs (divided by their number)
        `[G]`.
    """
    start, stop = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    grid = np.linspace(start, max(start, stop), GRID_POINTS)
    values = np.stack([np.interp(grid, x, y) for x, y in curves])
    return grid, values.mean(axis=0), values.std(axis=0)


def plot_runs(runs: Sequence[RunFolder], output: Path) -> Path:
    """Draw several runs in one picture, a line a group with a band of one deviation over its seeds.

    Args:
        runs: at least one, with metrics.
        output: the picture.
    Returns:
        Where the picture is.
    Raises:
        MetricsError: a run has no metrics.
    """
    groups = group_runs(runs)
    tables = {run.path: read_metrics(run.metrics_file) for run in runs}
    panels = {name: label for name, label in PANELS.items() if not name.startswith(WALL_CLOCK_PREFIX)}
    figure, axes = _figure(len(panels) + 1)
    for axis, (name, title) in zip(axes[:-1], panels.items(), strict=True):
        for index, (label, members) in enumerate(groups.items()):
            pairs = [
                _present(tables[run.path].get(name, []), tables[run.path]["frames"])
                for run in members
                if name in tables[run.path]
            ]
            curves = [(x, smooth(y, 9)) for x, y in pairs if len(x)]
            if not curves:
                continue
            x, mean, band = mean_and_band(curves)
            axis.plot(x, mean, color=f"C{index % 10}", label=textwrap.fill(f"{label} (n={len(curves)})", 45))
            axis.fill_between(x, mean - band, mean + band, color=f"C{index % 10}", alpha=0.2, linewidth=0)
        _dress(axis, title)
    axes[-1].legend(*axes[0].get_legend_handles_labels(), loc="center", fontsize=8, frameon=False)
    axes[-1].set_axis_off()
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=100)
    return output
