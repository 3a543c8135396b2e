"""The command line."""

import json
import re
from pathlib import Path

import pytest

from rl_trainers import __version__, cli


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and error output of a command."""
    try:
        code = cli.main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints the version."""
    assert run(capsys, "--version") == (0, f"rl-train {__version__}\n", "")


def test_help_shows_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """`ppo --help` shows options with type, default and unit."""
    code, out, _ = run(capsys, "ppo", "--help")
    assert code == 0
    assert "collector.total_frames=400000  <int>" in out
    assert "[frames]" in out
    assert "env.name=InvertedDoublePendulum-v5  <str>" in out


@pytest.mark.parametrize("command", ["resume", "evaluate", "plot", "video"])
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Each command explains itself."""
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert "RUN" in out


def test_mistakes_exit_with_2_and_make_no_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An unknown key and an ill-typed value are listed with near matches, without a traceback, and no run is made."""
    code, out, err = run(capsys, "ppo", f"run_dir={tmp_path}", "env.nam=x", "collector.total_frames=many")
    assert (code, out) == (2, "")
    assert err.startswith("rl-train: configuration: 2 mistakes\n")
    assert "env.nam: there is no such option. Did you mean env.name" in err
    assert "collector.total_frames: expected int, found 'many' (str)." in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_unknown_environment_makes_no_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An environment that is not registered is refused with near matches before anything is written."""
    code, _, err = run(capsys, "ppo", f"run_dir={tmp_path}", "env.name=HalfCheeta-v5")
    assert code == 2
    assert "HalfCheetah-v5" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["resume", "evaluate", "plot", "video"])
def test_no_such_run(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    """A folder that is not a run is refused in one line."""
    code, _, err = run(capsys, command, str(tmp_path / "nothing"))
    assert code == 2
    assert err.count("\n") == 1
    assert "is not a run" in err


def test_train_evaluate_resume_and_plot(
    capsys: pytest.CaptureFixture[str], small_overrides: list[str], tmp_path: Path
) -> None:
    """The commands work one after the other on the runs they leave."""
    arguments = ["ppo", *small_overrides, "env.name=Pendulum-v1", "env.max_steps=10", "evaluation.episodes=2"]
    for seed in (0, 1):
        code, out, err = run(capsys, *arguments, f"seed={seed}")
        assert code == 0
        assert re.search(r"evaluation: return -?\d+\.\d\d \+- \d+\.\d\d over 2 episodes of 10 steps", out)
    first, second = sorted((tmp_path / "runs").iterdir())

    code, out, _ = run(capsys, "evaluate", str(first), "--episodes", "3")
    assert code == 0
    assert "over 3 episodes" in out
    assert json.loads((first / "evaluation.json").read_text())["episodes"] == 3
    assert run(capsys, "evaluate", str(first), "--episodes", "0")[0] == 2

    code, out, _ = run(capsys, "resume", str(first))
    assert code == 0
    assert "is complete (256 frames)" in out
    code, out, err = run(capsys, "resume", str(first), "optim.lr=1")
    assert code == 2
    assert "optim.lr=1: cannot change when a run is resumed" in err
    code, out, err = run(capsys, "resume", str(first), "collector.total_frames=320")
    assert code == 0
    assert len((first / "metrics.csv").read_text().splitlines()) == 1 + 5

    assert run(capsys, "plot", str(first)) == (0, f"{first / 'curve.png'}\n", "")
    picture = tmp_path / "both.png"
    assert run(capsys, "plot", str(first), str(second), "--output", str(picture)) == (0, f"{picture}\n", "")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_resume_evaluates_what_was_trained_last(
    capsys: pytest.CaptureFixture[str], small_overrides: list[str], tmp_path: Path
) -> None:
    """A run that was extended and killed before its last evaluation is not complete: the evaluation is an older one."""
    arguments = ["env.name=Pendulum-v1", "env.max_steps=10", "evaluation.episodes=2"]
    assert run(capsys, "ppo", *small_overrides, *arguments)[0] == 0
    (folder,) = (tmp_path / "runs").iterdir()
    content = json.loads((folder / "evaluation.json").read_text())
    (folder / "evaluation.json").write_text(json.dumps({**content, "frames": 128, "mean": 0.0}))
    code, out, _ = run(capsys, "resume", str(folder))
    assert code == 0
    assert "evaluation: return" in out
    assert json.loads((folder / "evaluation.json").read_text()) == content
    assert "is complete" in run(capsys, "resume", str(folder))[1]


def test_config_file_of_another_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`--config` starts from a file; its mistakes are reported like any others."""
    path = tmp_path / "config.yaml"
    path.write_text("optim: {lrr: 1}\n")
    code, _, err = run(capsys, "ppo", "--config", str(path))
    assert code == 2
    assert "Did you mean optim.lr" in err
    code, _, err = run(capsys, "ppo", "--config", str(tmp_path / "none.yaml"))
    assert code == 2
    assert "none.yaml" in err


def test_damaged_checkpoint_is_refused_without_a_traceback(
    capsys: pytest.CaptureFixture[str], small_overrides: list[str], tmp_path: Path
) -> None:
    """Resuming and evaluating from a damaged checkpoint end with code 1 and the name of the file."""
    assert run(capsys, "ppo", *small_overrides, "env.name=PendulumEnv")[0] == 0
    (folder,) = (tmp_path / "runs").iterdir()
    model = folder / "checkpoint" / "model.pt"
    model.write_bytes(model.read_bytes()[:-1])
    for command in (["evaluate", str(folder)], ["resume", str(folder), "collector.total_frames=1024"]):
        code, _, err = run(capsys, *command)
        assert code == 1
        assert "model.pt is damaged" in err
        assert "Traceback" not in err
