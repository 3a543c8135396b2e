"""Loggers, those of services with stand-ins for the services."""

import math
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from rl_trainers import (
    CSVLogger,
    LoggerGroup,
    MissingExtraError,
    MLflowLogger,
    PPOConfig,
    RunFolder,
    TensorBoardLogger,
    WandbLogger,
    create_run_folder,
    read_metrics,
)
from rl_trainers.loggers import build_loggers, find_missing_extras


def read_events(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Scalars of TensorBoard event files, by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events: Any = EventAccumulator(str(path))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_writes_scalars(tmp_path: Path) -> None:
    """Metrics come back from the event files; NaN leaves no event."""
    logger = TensorBoardLogger(tmp_path)
    logger.log(10, {"a": 1.5, "b": math.nan})
    logger.log(20, {"a": 2.5, "b": 3.0})
    logger.close()
    assert read_events(tmp_path) == {"a": [(10, 1.5), (20, 2.5)], "b": [(20, 3.0)]}


def test_tensorboard_resume_hides_later_events(tmp_path: Path) -> None:
    """After a resume at a checkpoint the events behind it do not show up twice."""
    first = TensorBoardLogger(tmp_path)
    for step in (10, 20, 30):
        first.log(step, {"a": float(step)})
    first.close()
    second = TensorBoardLogger(tmp_path, resume_step=20)
    second.log(30, {"a": -30.0})
    second.close()
    assert read_events(tmp_path)["a"] == [(10, 10.0), (20, 20.0), (30, -30.0)]


class FakeWandbRun:
    """Stands for a W&B run."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def log(self, row: dict[str, float], step: int) -> None:
        """Keep a row."""
        self.rows.append((step, row))

    def finish(self) -> None:
        """Count the call."""
        self.finished += 1


def test_wandb_gets_rows_and_one_finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B gets the configuration, rows without NaN at their steps, and is finished once."""
    runs: list[FakeWandbRun] = []

    def init(**settings: Any) -> FakeWandbRun:
        runs.append(FakeWandbRun(settings))
        return runs[-1]

    module = types.ModuleType("wandb")
    module.init = init  # type: ignore[attr-defined]  # a stand-in gets the one function that is used
    monkeypatch.setitem(sys.modules, "wandb", module)
    logger = WandbLogger(project="p", name="run-1", folder=tmp_path, config={"seed": 3})
    logger.log(5, {"a": 1.0, "b": math.nan})
    logger.close()
    logger.close()
    (run,) = runs
    assert run.rows == [(5, {"a": 1.0})]
    assert run.finished == 1
    assert run.settings["config"] == {"seed": 3}
    assert (run.settings["project"], run.settings["id"], run.settings["resume"]) == ("p", "run-1", "allow")


class FakeMlflow:
    """Stands for an MLflow server, with the calls of its client that are used."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, str] = {}
        self.params: dict[str, Any] = {}
        self.metrics: list[tuple[str, str, float, int]] = []
        self.terminated: list[str] = []
        self.uri = ""

    def client(self, tracking_uri: str) -> "FakeMlflow":
        """Connect."""
        self.uri = tracking_uri
        return self

    def get_experiment_by_name(self, name: str) -> Any:
        """Find an experiment."""
        known = self.experiments.get(name)
        return None if known is None else types.SimpleNamespace(experiment_id=known)

    def create_experiment(self, name: str) -> str:
        """Make an experiment."""
        self.experiments[name] = "e1"
        return "e1"

    def search_runs(self, experiments: list[str], filter_string: str, max_results: int) -> list[Any]:
        """Find runs by name."""
        name = filter_string.split("'")[1]
        found = [run for run, label in self.runs.items() if label == name][:max_results]
        return [types.SimpleNamespace(info=types.SimpleNamespace(run_id=run)) for run in found]

    def create_run(self, experiment: str, run_name: str) -> Any:
        """Make a run."""
        self.runs[f"r{len(self.runs)}"] = run_name
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=f"r{len(self.runs) - 1}"))

    def log_param(self, run: str, key: str, value: Any) -> None:
        """Keep a parameter."""
        self.params[key] = value

    def log_metric(self, run: str, key: str, value: float, step: int) -> None:
        """Keep a metric."""
        self.metrics.append((run, key, value, step))

    def set_terminated(self, run: str) -> None:
        """Keep the end."""
        self.terminated.append(run)


def test_mlflow_continues_the_run_of_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two loggers of one name write to one MLflow run, in a store beside the runs unless told otherwise."""
    server = FakeMlflow()
    module = types.ModuleType("mlflow")
    module.tracking = types.SimpleNamespace(MlflowClient=server.client)  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for step in (1, 2):
        logger = MLflowLogger(experiment="x", name="run-1", folder=tmp_path / "run-1", config={"seed": 3})
        logger.log(step, {"a": float(step), "b": math.nan})
        logger.close()
        logger.close()
    assert server.metrics == [("r0", "a", 1.0, 1), ("r0", "a", 2.0, 2)]
    assert server.terminated == ["r0", "r0"]
    assert server.params == {"seed": 3}
    assert server.uri == f"sqlite:///{tmp_path.resolve() / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    MLflowLogger(experiment="x", name="run-1", folder=tmp_path, config={}).close()
    assert server.uri == "http://tracking:5000"


def test_missing_service_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that is not installed is an error that names what to install."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtraError, match=r"pip install rl-trainers\[wandb\]"):
        WandbLogger(project="p", name="n", folder=tmp_path, config={})
    with pytest.raises(MissingExtraError, match=r"pip install rl-trainers\[mlflow\]"):
        MLflowLogger(experiment="p", name="n", folder=tmp_path, config={})


def test_missing_extras_are_found_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each optional package that is asked for and absent gets a sentence; nothing asked for, nothing said."""
    assert find_missing_extras(PPOConfig()) == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    config = PPOConfig(record_video=True)
    config.logger.wandb = True
    found = find_missing_extras(config)
    assert [problem.split(":")[0] for problem in found] == ["logger.wandb", "record_video", "record_video"]
    assert "pip install rl-trainers[video]" in found[1]


def test_csv_and_tensorboard_at_once(tmp_path: Path) -> None:
    """The default loggers write the same numbers to both places."""
    run = create_run_folder(PPOConfig(run_dir=str(tmp_path)))
    loggers = build_loggers(run.config(), run)
    loggers.log(8, {"a": 0.5})
    loggers.close()
    assert [type(logger) for logger in loggers.loggers] == [CSVLogger, TensorBoardLogger]
    assert read_metrics(run.metrics_file) == {"frames": [8.0], "a": [0.5]}
    assert read_events(run.tensorboard) == {"a": [(8, 0.5)]}


def test_no_loggers_is_fine(tmp_path: Path) -> None:
    """With every logger off nothing is written."""
    config = PPOConfig()
    config.logger.csv = config.logger.tensorboard = False
    loggers = build_loggers(config, RunFolder(tmp_path))
    assert isinstance(loggers, LoggerGroup)
    loggers.log(1, {"a": 1.0})
    loggers.close()
    assert list(tmp_path.iterdir()) == []
