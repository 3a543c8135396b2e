"""The package's public names, and what importing it costs."""

import subprocess
import sys

import rl_trainers

NAMES = [
    "CSVLogger",
    "CheckpointError",
    "ConfigError",
    "DivergenceError",
    "EvaluationError",
    "GracefulStop",
    "Logger",
    "LoggerGroup",
    "MLflowLogger",
    "MetricsError",
    "MissingExtraError",
    "PPOConfig",
    "RecipeError",
    "RunFolder",
    "RunFolderError",
    "TensorBoardLogger",
    "UnsupportedEnvError",
    "VideoError",
    "WandbLogger",
    "__version__",
    "create_run_folder",
    "load_checkpoint",
    "load_config",
    "open_run_folder",
    "parse_config",
    "plot_run",
    "plot_runs",
    "read_metrics",
    "record_video",
    "register_config",
    "save_checkpoint",
    "save_config",
]


def test_public_names() -> None:
    """The public names are exactly these, and each exists."""
    assert sorted(rl_trainers.__all__) == NAMES
    assert all(getattr(rl_trainers, name) is not None for name in NAMES)


def test_import_is_light() -> None:
    """Importing the package imports no library for plots, configuration, logs or environments, and prints nothing."""
    code = (
        "import sys, rl_trainers\n"
        "heavy = {'hydra', 'omegaconf', 'matplotlib', 'tensorboard', 'gymnasium', 'mujoco', 'imageio'}\n"
        "found = sorted(heavy & set(sys.modules))\n"
        "sys.exit(f'imported {found}' if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
