"""A whole run in one process."""

import csv
import errno
import json
import math
import os
import signal
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import GymWrapper
from rl_trainers import CheckpointError, PPOConfig, checkpoint, create_run_folder, load_checkpoint, read_metrics
from rl_trainers.ppo import PPO
from rl_trainers.train import Training, episode_metrics, evaluate_folder, train

MakeConfig = Callable[..., PPOConfig]


@pytest.fixture
def without_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the curve out, whose drawing takes longer than the run."""
    monkeypatch.setattr("rl_trainers.train.plot_run", lambda run: None)


def deterministic_columns(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics file without the columns that depend on the clock, as the text they are."""
    with path.open() as file:
        return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in csv.DictReader(file)]


def test_run_leaves_everything_behind(make_config: MakeConfig) -> None:
    """A run leaves configuration, metrics, events, curve, evaluation and a loadable checkpoint."""
    config = make_config("env.name=Pendulum-v1", "env.max_steps=20", "evaluation.episodes=3", "logger.tensorboard=true")
    run = create_run_folder(config)
    outcome = train(config, run)
    assert (outcome.is_interrupted, outcome.frames) == (False, 256)
    evaluation = json.loads(run.evaluation_file.read_text())
    assert outcome.evaluation is not None
    assert evaluation["returns"] == outcome.evaluation.returns
    assert evaluation["lengths"] == [20, 20, 20]
    assert evaluation["mean"] == pytest.approx(sum(evaluation["returns"]) / 3)
    assert (evaluation["env"], evaluation["frames"], evaluation["episodes"]) == ("Pendulum-v1", 256, 3)
    metrics = read_metrics(run.metrics_file)
    assert metrics["frames"] == [64, 128, 192, 256]
    assert all(length == 20 for length in metrics["episode/length"])
    assert metrics["episode/count"][0] == 2
    assert run.curve_file.read_bytes().startswith(b"\x89PNG")
    assert list(run.tensorboard.glob("events.*"))
    parts, counters = load_checkpoint(run.checkpoint)
    assert set(parts) == {"model", "optimizer", "scheduler", "collector", "sampler", "random"}
    assert (counters["frames"], counters["batches"]) == (256, 4)


@pytest.mark.usefixtures("without_curve")
def test_one_seed_one_result(make_config: MakeConfig) -> None:
    """Two runs with one seed have identical metrics, another seed has others; evaluating in between changes nothing."""
    rows = []
    for overrides in (["seed=1"], ["seed=1"], ["seed=1", "evaluation.interval=1", "evaluation.episodes=1"], ["seed=2"]):
        config = make_config("env.name=Pendulum-v1", *overrides)
        run = create_run_folder(config)
        train(config, run)
        rows.append([{**row, "evaluation/return": ""} for row in deterministic_columns(run.metrics_file)])
    assert rows[0] == rows[1] == rows[2]
    assert rows[0] != rows[3]


@pytest.mark.usefixtures("without_curve")
def test_evaluation_in_between_is_logged(make_config: MakeConfig) -> None:
    """With an interval of 2 every second row has an evaluation."""
    config = make_config("env.name=Pendulum-v1", "env.max_steps=5", "evaluation.interval=2", "evaluation.episodes=1")
    run = create_run_folder(config)
    train(config, run)
    found = read_metrics(run.metrics_file)["evaluation/return"]
    assert [math.isnan(value) for value in found] == [True, False, True, False]


def test_signal_stops_after_the_batch_with_everything_saved(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal in the second batch ends the run after it, and resuming gives the metrics of a run never stopped."""
    config = make_config("env.name=Pendulum-v1")
    whole = create_run_folder(config)
    train(config, whole)
    run = create_run_folder(config)
    original = PPO.update
    calls: list[int] = []

    def update(self: PPO, data: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(PPO, "update", update)
        outcome = train(config, run)
    assert (outcome.is_interrupted, outcome.frames, outcome.evaluation) == (True, 128, None)
    assert load_checkpoint(run.checkpoint)[1]["frames"] == 128
    assert run.curve_file.exists()
    assert train(config, run, resume=True).frames == 256
    assert deterministic_columns(run.metrics_file) == deterministic_columns(whole.metrics_file)


def _refuse(path: Path, parts: Mapping[str, Any], counters: Mapping[str, Any]) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.usefixtures("without_curve")
def test_full_disk_during_a_save_does_not_stop_training(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Saves that fail for want of space are reported and tried again; the run and its final checkpoint are complete."""
    config = make_config("checkpoint.interval=2")
    run = create_run_folder(config)
    original = checkpoint._write_parts
    calls: list[int] = []

    def sometimes(path: Path, parts: Mapping[str, Any], counters: Mapping[str, Any]) -> None:
        calls.append(int(counters["batches"]))
        if counters["batches"] == 2:
            _refuse(path, parts, counters)
        original(path, parts, counters)

    monkeypatch.setattr(checkpoint, "_write_parts", sometimes)
    assert train(config, run).frames == 256
    assert calls == [0, 2, 3, 4, 4]
    assert "No space left on device" in capsys.readouterr().err
    assert load_checkpoint(run.checkpoint)[1]["batches"] == 4


@pytest.mark.usefixtures("without_curve")
def test_full_disk_at_the_end_saves_elsewhere(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """If the last save does not fit, the state goes to the temporary folder and the error says where and what to do."""
    config = make_config("checkpoint.interval=100")
    run = create_run_folder(config)
    original = checkpoint._write_parts
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def only_elsewhere(path: Path, parts: Mapping[str, Any], counters: Mapping[str, Any]) -> None:
        if run.path in path.parents and counters["batches"]:
            _refuse(path, parts, counters)
        original(path, parts, counters)

    monkeypatch.setattr(checkpoint, "_write_parts", only_elsewhere)
    with pytest.raises(CheckpointError, match="The newest state is saved in") as caught:
        train(config, run)
    elsewhere = tmp_path / "temporary" / f"{run.path.name}-checkpoint"
    assert str(elsewhere) in str(caught.value)
    assert load_checkpoint(elsewhere)[1]["frames"] == 256
    assert load_checkpoint(run.checkpoint)[1]["frames"] == 0


@pytest.mark.usefixtures("without_curve")
def test_more_frames_later(make_config: MakeConfig) -> None:
    """A finished run trains on when it is resumed with a larger total, as if that had been the total from the start."""
    whole_config = make_config("env.name=Pendulum-v1", "optim.anneal=false", "collector.total_frames=384")
    whole = create_run_folder(whole_config)
    train(whole_config, whole)
    config = make_config("env.name=Pendulum-v1", "optim.anneal=false")
    run = create_run_folder(config)
    train(config, run)
    train(whole_config, run, resume=True)
    assert deterministic_columns(run.metrics_file) == deterministic_columns(whole.metrics_file)


@pytest.mark.usefixtures("without_curve")
def test_evaluate_folder_repeats_the_evaluation(make_config: MakeConfig) -> None:
    """Evaluating a finished run gives the same episodes as the evaluation at its end."""
    config = make_config("env.name=Pendulum-v1", "env.max_steps=10", "evaluation.episodes=2")
    run = create_run_folder(config)
    outcome = train(config, run)
    assert evaluate_folder(run, 2) == outcome.evaluation
    with pytest.raises(ValueError, match="at least 1"):
        evaluate_folder(run, 0)


def test_resume_without_checkpoint(make_config: MakeConfig) -> None:
    """Resuming a run that has no checkpoint says so."""
    config = make_config()
    run = create_run_folder(config)
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        train(config, run, resume=True)


def test_episode_metrics_by_hand() -> None:
    """Return and length are means over the steps that ended an episode, and NaN when none did."""
    data = TensorDict(
        {
            "next": {
                "done": torch.tensor([[[False], [True]], [[True], [False]]]),
                "episode_reward": torch.tensor([[[1.0], [2.0]], [[4.0], [5.0]]]),
                "step_count": torch.tensor([[[1], [2]], [[5], [1]]]),
            }
        },
        batch_size=[2, 2],
    )
    assert episode_metrics(data) == {"episode/return": 3.0, "episode/length": 3.5, "episode/count": 2}
    data["next", "done"] = torch.zeros(2, 2, 1, dtype=torch.bool)
    found = episode_metrics(data)
    assert math.isnan(found["episode/return"])
    assert found["episode/count"] == 0


@pytest.mark.usefixtures("without_curve")
def test_more_frames_later_at_the_learning_rate_of_then(make_config: MakeConfig) -> None:
    """A finished run whose learning rate has fallen to 0 learns from its first batch on when it gets more frames."""
    run = create_run_folder(make_config("env.name=Pendulum-v1"))
    train(run.config(), run)
    more = make_config("env.name=Pendulum-v1", "collector.total_frames=512")
    train(more, run, resume=True)
    rates = read_metrics(run.metrics_file)["optim/lr"]
    assert rates == pytest.approx(
        [more.optim.lr * share for share in (1, 3 / 4, 2 / 4, 1 / 4, 4 / 8, 3 / 8, 2 / 8, 1 / 8)]
    )


@pytest.mark.usefixtures("without_curve")
def test_resume_without_exact_state_starts_other_episodes(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment that cannot be put back goes on with new episodes, and does not play those of the start again."""
    monkeypatch.setattr(GymWrapper, "has_exact_state", property(lambda env: False))
    config = make_config("env.name=Pendulum-v1", "env.normalize_observation=false")
    run = create_run_folder(config)
    first = Training(config, run)
    starts = first.ppo.collector.rollout()["observation"][:, 0]
    first.save()
    again = [Training(config, run, resume=True).ppo.collector.rollout()["observation"][:, 0] for _ in range(2)]
    assert torch.equal(again[0], again[1])
    assert not (again[0] == starts).any()
