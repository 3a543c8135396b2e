"""One picture a family: a panel for each comparison, a bar for each contender."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from _measure import HIGHER_IS_BETTER, Result
from _report import number

COLUMNS = 3
LOGARITHMIC_FROM = 50.0
COLOURS = ("#2563eb", "#f59e0b", "#9aa3b2", "#10b981", "#a855f7", "#ef4444", "#64748b")


def draw(name: str, results: Sequence[Result], path: Path) -> None:
    """Write the picture of a family as PNG; nothing is written where nothing was measured."""
    shown = [result for result in results if result.labels()]
    if not shown:
        return
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    tallest = max(len(result.labels()) * len(result.figures) for result in shown)
    size = (5.2 * columns, rows * (1.7 + 0.2 * tallest))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis, result in zip(axes.flat, shown, strict=False):
        _panel(axis, result, 0.2 * tallest + 0.3)
    figure.suptitle(name, fontsize=10, color="grey")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _panel(axis: Any, result: Result, height_inches: float) -> None:
    """Horizontal bars of the medians, one group a label; `height_inches` is about the panel's."""
    labels, names = result.labels(), list(result.figures)
    height = 0.8 / len(names)
    for index, name in enumerate(names):
        medians = [result.median(name, label) for label in labels]
        at = [row + (index - (len(names) - 1) / 2) * height for row in range(len(labels))]
        bars = axis.barh(
            at, [value or 0.0 for value in medians], height, color=COLOURS[index % len(COLOURS)], label=name
        )
        axis.bar_label(bars, ["" if value is None else number(value) for value in medians], padding=2, fontsize=7)
    axis.set_yticks(range(len(labels)), labels, fontsize=8)
    axis.invert_yaxis()
    axis.set_title(result.comparison.title, fontsize=9)
    better = "higher" if result.unit in HIGHER_IS_BETTER else "lower"
    axis.set_xlabel(f"{result.unit}, {better} is better", fontsize=8)
    axis.tick_params(axis="x", labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.2)
    drawn = [value for name in names for label in labels if (value := result.median(name, label))]
    if max(drawn, default=1.0) > LOGARITHMIC_FROM * min(drawn, default=1.0):
        axis.set_xscale("log")
    if len(names) > 1:
        axis.legend(
            fontsize=7,
            frameon=False,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.55 / height_inches),
            ncols=3,
        )
