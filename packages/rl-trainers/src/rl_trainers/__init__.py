"""Reinforcement-learning recipes and command line: typed configuration, run folders, checkpoints, evaluation, plots.

What trains imports every layer and is therefore in modules of its own: `rl_trainers.ppo`, `rl_trainers.train`,
`rl_trainers.evaluation`.
"""

from rl_trainers.__about__ import __version__
from rl_trainers.checkpoint import load_checkpoint, save_checkpoint
from rl_trainers.config import PPOConfig
from rl_trainers.config_io import load_config, parse_config, register_config, save_config
from rl_trainers.errors import (
    CheckpointError,
    ConfigError,
    DivergenceError,
    EvaluationError,
    MetricsError,
    MissingExtraError,
    RecipeError,
    RunFolderError,
    UnsupportedEnvError,
    VideoError,
)
from rl_trainers.interrupt import GracefulStop
from rl_trainers.loggers import Logger, LoggerGroup, MLflowLogger, TensorBoardLogger, WandbLogger
from rl_trainers.metrics import CSVLogger, read_metrics
from rl_trainers.plot import plot_run, plot_runs
from rl_trainers.run_folder import RunFolder, create_run_folder, open_run_folder
from rl_trainers.video import record_video

__all__ = [
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
