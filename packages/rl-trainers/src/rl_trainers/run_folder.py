"""A run's folder: where each of its files is, and how a new one gets a name of its own."""

import dataclasses
import datetime
import json
import shutil
from pathlib import Path
from typing import Any

from rl_specs.errors import message
from rl_trainers.config import PPOConfig
from rl_trainers.config_io import load_config, save_config
from rl_trainers.errors import RunFolderError


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Paths of a run.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def config_file(self) -> Path:
        """`config.yaml`, the whole configuration."""
        return self.path / "config.yaml"

    @property
    def metrics_file(self) -> Path:
        """`metrics.csv`, a row per batch."""
        return self.path / "metrics.csv"

    @property
    def curve_file(self) -> Path:
        """`curve.png`, drawn from the metrics."""
        return self.path / "curve.png"

    @property
    def evaluation_file(self) -> Path:
        """`evaluation.json`, the last evaluation."""
        return self.path / "evaluation.json"

    def evaluated_frames(self) -> int | None:
        """Frames of training after which `evaluation.json` was written; None where there is no such file."""
        try:
            return int(json.loads(self.evaluation_file.read_text())["frames"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def checkpoint(self) -> Path:
        """`checkpoint/`, the last checkpoint."""
        return self.path / "checkpoint"

    @property
    def tensorboard(self) -> Path:
        """`tensorboard/`, event files."""
        return self.path / "tensorboard"

    @property
    def video_file(self) -> Path:
        """`video.mp4`, an episode of the final policy."""
        return self.path / "video.mp4"

    def config(self) -> PPOConfig:
        """The configuration that the run was started with."""
        return load_config(self.config_file)


def create_run_folder(config: PPOConfig, algorithm: str = "ppo") -> RunFolder:
    """Make the folder of a new run, with its `config.yaml`; never one that is there already.

    Args:
        config: the run's configuration; says where (`run_dir`) and how named (`run_name`).
        algorithm: part of the name.
    Returns:
        `<run_dir>/<date-time>-<env>-<algorithm>-<seed>`, with `-2`, `-3`, ... added where that is taken.
    Raises:
        RunFolderError: `run_name` is taken, or the folder cannot be made.
    """
    root = Path(config.run_dir).expanduser()
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    env = config.env.name.replace("/", "-").replace(":", "-")
    base = config.run_name or f"{stamp}-{env}-{algorithm}-{config.seed}"
    attempt = 1
    while True:
        path = root / (base if attempt == 1 else f"{base}-{attempt}")
        try:
            path.mkdir(parents=True)
            break
        except FileExistsError as error:
            if config.run_name or not path.is_dir():
                raise RunFolderError(
                    message(
                        "run folder",
                        f"{path} exists already",
                        fix="Give another run_name, or continue it with rl-train resume",
                    )
                ) from error
            attempt += 1
        except OSError as error:
            raise RunFolderError(
                message("run folder", f"{path} cannot be made ({error.strerror})", fix="Choose another run_dir")
            ) from error
    run = RunFolder(path)
    try:
        save_config(config, run.config_file)
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)
        problem = f"{run.config_file} cannot be written ({error.strerror})"
        raise RunFolderError(
            message("run folder", problem, fix="Free space, or choose another run_dir; nothing was left behind")
        ) from error
    return run


def open_run_folder(path: Path) -> RunFolder:
    """The run in a folder that is there.

    Args:
        path: the folder, or a file in it.
    Raises:
        RunFolderError: there is no run there.
    """
    folder = path if path.is_dir() else path.parent
    if not (folder / "config.yaml").is_file():
        siblings = sorted(p.parent.name for p in folder.glob("*/config.yaml"))[-3:] if folder.is_dir() else []
        fix = f"Runs in there: {', '.join(siblings)}" if siblings else "Give the folder that rl-train ppo printed"
        raise RunFolderError(
            message("run folder", f"{path} is not a run", expected="a folder with config.yaml", fix=fix)
        )
    return RunFolder(folder)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON under a temporary name and rename it into place."""
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    temporary.replace(path)
