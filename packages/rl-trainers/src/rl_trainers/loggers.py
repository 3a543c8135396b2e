"""Where metrics go: one protocol, and what implements it. Services are imported when they are used, not before."""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from rl_specs.errors import message
from rl_trainers.config_io import config_yaml
from rl_trainers.errors import MissingExtraError
from rl_trainers.metrics import CSVLogger

if TYPE_CHECKING:
    from rl_trainers.config import PPOConfig
    from rl_trainers.run_folder import RunFolder


class Logger(Protocol):
    """Takes metrics as they come."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record metrics.

        Args:
            step: frames so far.
            metrics: name to number; NaN means that there is no value at this step.
        """

    def close(self) -> None:
        """Write what is held back; closing twice does nothing."""


def _without_nan(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not math.isnan(value)}


def _need(module: str, extra: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            message(
                "logger",
                f"{module} is not installed",
                fix=f"Run pip install rl-trainers[{extra}], or set logger.{extra}=false",
            )
        ) from error


class TensorBoardLogger:
    """Scalars as TensorBoard events.

    Args:
        path: folder of the event files.
        resume_step: on resume, TensorBoard hides events after this step; `None` for a new run.
    """

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        purge = None if resume_step is None else resume_step + 1
        self._writer: Any = SummaryWriter(log_dir=str(path), purge_step=purge)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a scalar per metric."""
        for name, value in _without_nan(metrics).items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write the events out."""
        self._writer.close()


class WandbLogger:
    """Scalars to Weights & Biases; `WANDB_MODE=offline` keeps them on disk.

    Args:
        project: W&B project.
        name: display name and identity of the run, so that a resumed run continues the same one.
        folder: where W&B keeps its files.
        config: shown with the run.
    Raises:
        MissingExtraError: wandb is not installed.
    """

    def __init__(self, *, project: str, name: str, folder: Path, config: Mapping[str, Any]) -> None:
        wandb: Any = _need("wandb", "wandb")
        self._run = wandb.init(
            project=project,
            name=name,
            id=name,
            resume="allow",
            dir=str(folder),
            config=dict(config),
            reinit="finish_previous",
        )
        self._closed = False

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send a row."""
        self._run.log(_without_nan(metrics), step=step)

    def close(self) -> None:
        """Finish the W&B run."""
        if not self._closed:
            self._closed = True
            self._run.finish()


class MLflowLogger:
    """Scalars to MLflow, to the server of `MLFLOW_TRACKING_URI` or else to `mlflow.db` beside the run.

    Args:
        experiment: MLflow experiment.
        name: name of the run; a resumed run continues the one that has it.
        folder: the run's folder.
        config: logged as parameters.
    Raises:
        MissingExtraError: mlflow is not installed.
    """

    def __init__(self, *, experiment: str, name: str, folder: Path, config: Mapping[str, Any]) -> None:
        import os

        mlflow: Any = _need("mlflow", "mlflow")
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder.parent / 'mlflow.db').resolve()}"
        self._client = mlflow.tracking.MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found is not None else self._client.create_experiment(experiment)
        earlier = self._client.search_runs(
            [experiment_id], filter_string=f"attributes.run_name = '{name}'", max_results=1
        )
        if earlier:
            self._run_id = earlier[0].info.run_id
        else:
            self._run_id = self._client.create_run(experiment_id, run_name=name).info.run_id
            for key, value in config.items():
                self._client.log_param(self._run_id, key, value)
        self._closed = False

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send a row."""
        for name, value in _without_nan(metrics).items():
            self._client.log_metric(self._run_id, name, value, step=step)

    def close(self) -> None:
        """Mark the MLflow run as finished."""
        if not self._closed:
            self._closed = True
            self._client.set_terminated(self._run_id)


def find_missing_extras(config: "PPOConfig") -> list[str]:
    """What the configuration asks for and is not installed, a sentence each.

    Args:
        config: its `logger` group and `record_video` are looked at.
    """
    import importlib.util

    wanted = [
        (config.logger.wandb, "logger.wandb", "wandb", "wandb"),
        (config.logger.mlflow, "logger.mlflow", "mlflow", "mlflow"),
        (config.record_video, "record_video", "imageio", "video"),
        (config.record_video, "record_video", "imageio_ffmpeg", "video"),
    ]
    return [
        f"{key}: {module} is not installed. Run pip install rl-trainers[{extra}], or set {key}=false."
        for is_wanted, key, module, extra in wanted
        if is_wanted and importlib.util.find_spec(module) is None
    ]


class LoggerGroup:
    """Hands every row to several loggers. One that cannot write (a full disk) is left out from then on, and said so.

    Args:
        loggers: in order.
    """

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self.loggers = tuple(loggers)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Hand on to each."""
        for logger in self.loggers:
            try:
                logger.log(step, metrics)
            except OSError as error:
                self._drop(logger, error)

    def close(self) -> None:
        """Close each."""
        for logger in self.loggers:
            try:
                logger.close()
            except OSError as error:
                self._drop(logger, error)

    def _drop(self, logger: Logger, error: OSError) -> None:
        self.loggers = tuple(other for other in self.loggers if other is not logger)
        problem = f"cannot write ({error.strerror or error}) and gets no more rows"
        fix = "Training goes on; free space before the run is resumed"
        print(message(type(logger).__name__, problem, fix=fix), file=sys.stderr)


def build_loggers(config: "PPOConfig", run: "RunFolder", resume_step: int | None = None) -> LoggerGroup:
    """The loggers that a configuration asks for.

    Args:
        config: its `logger` group says which.
        run: the run's folder.
        resume_step: frames at the checkpoint that a run continues from; `None` for a new run.
    Raises:
        MissingExtraError: one needs a package that is not installed.
    """
    import yaml

    wanted = config.logger
    tree = yaml.safe_load(config_yaml(config))
    flat = {
        f"{group}.{key}": value
        for group, options in tree.items()
        if isinstance(options, dict)
        for key, value in options.items()
    }
    flat |= {key: value for key, value in tree.items() if not isinstance(value, dict)}
    loggers: list[Logger] = []
    if wanted.wandb:
        loggers.append(WandbLogger(project=wanted.project, name=run.path.name, folder=run.path, config=flat))
    if wanted.mlflow:
        loggers.append(MLflowLogger(experiment=wanted.project, name=run.path.name, folder=run.path, config=flat))
    if wanted.csv:
        loggers.append(CSVLogger(run.metrics_file, resume_step))
    if wanted.tensorboard:
        loggers.append(TensorBoardLogger(run.tensorboard, resume_step))
    return LoggerGroup(loggers)
