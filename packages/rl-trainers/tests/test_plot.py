"""Pictures of runs."""

import math
from pathlib import Path

import numpy as np
import pytest

from rl_trainers import CSVLogger, MetricsError, PPOConfig, RunFolder, create_run_folder, plot_run, plot_runs
from rl_trainers.plot import PANELS, group_runs, mean_and_band, smooth


def make_run(root: Path, name: str, seed: int = 0, lr: float = 3e-4, rows: int = 12) -> RunFolder:
    """A run folder with metrics but no training."""
    config = PPOConfig(run_dir=str(root), run_name=name, seed=seed)
    config.optim.lr = lr
    run = create_run_folder(config)
    logger = CSVLogger(run.metrics_file)
    for row in range(rows):
        values = {key: float(row + seed) for key in PANELS} | {"episode/return": math.nan if row % 3 else float(row)}
        logger.log((row + 1) * 100, values)
    logger.close()
    return run


def is_png(path: Path) -> bool:
    """Whether a file is a PNG with more than a frame in it."""
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000


def test_curve_of_one_run(tmp_path: Path) -> None:
    """The curve is a picture in the run's folder, or where it is asked for."""
    run = make_run(tmp_path, "a")
    assert plot_run(run) == run.path / "curve.png"
    assert is_png(run.curve_file)
    assert is_png(plot_run(run, tmp_path / "new" / "other.png"))


def test_curve_of_a_short_run(tmp_path: Path) -> None:
    """One row, in which no episode has ended, is enough for a picture."""
    run = make_run(tmp_path, "a", rows=1)
    assert is_png(plot_run(run))


def test_several_runs_in_one_picture(tmp_path: Path) -> None:
    """Seeds and configurations share one picture."""
    runs = [make_run(tmp_path, "a", 0), make_run(tmp_path, "b", 1), make_run(tmp_path, "c", 0, lr=1e-3)]
    assert is_png(plot_runs(runs, tmp_path / "all.png"))


def test_groups_differ_in_more_than_the_seed(tmp_path: Path) -> None:
    """Seeds of one configuration are one group; the label says in what groups differ."""
    runs = [make_run(tmp_path, "a", 0), make_run(tmp_path, "b", 1), make_run(tmp_path, "c", 0, lr=1e-3)]
    groups = group_runs(runs)
    assert groups == {
        "InvertedDoublePendulum-v5 optim.lr=0.0003": runs[:2],
        "InvertedDoublePendulum-v5 optim.lr=0.001": runs[2:],
    }
    assert list(group_runs(runs[:2])) == ["InvertedDoublePendulum-v5"]


def test_mean_and_band_by_hand() -> None:
    """Two lines at 0..2 and 2..4 over the frames both cover have mean 1..3 and deviation 1."""
    x, y = np.array([0.0, 10.0, 20.0]), np.array([0.0, 1.0, 2.0])
    grid, mean, band = mean_and_band([(x, y), (x[:2], y[:2] + 2)])
    assert (grid[0], grid[-1]) == (0, 10)
    np.testing.assert_allclose(mean, 1 + grid / 10)
    np.testing.assert_allclose(band, 1.0)


def test_smoothing_by_hand() -> None:
    """A window of 3 averages neighbours and shrinks at the ends."""
    np.testing.assert_allclose(smooth(np.array([0.0, 3.0, 6.0, 0.0]), 3), [1.5, 3.0, 3.0, 3.0])
    np.testing.assert_allclose(smooth(np.array([1.0, 5.0]), 9), [1.0, 5.0])


def test_window_longer_than_the_curve() -> None:
    """Smoothing keeps the length of a curve that is shorter than the window."""
    np.testing.assert_allclose(smooth(np.full(4, 2.0), 9), np.full(4, 2.0))


def test_run_without_metrics(tmp_path: Path) -> None:
    """A run that has no metrics cannot be drawn, and says why."""
    run = create_run_folder(PPOConfig(run_dir=str(tmp_path)))
    with pytest.raises(MetricsError, match="is not there"):
        plot_run(run)
