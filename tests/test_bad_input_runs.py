"""Mistakes and mishaps of training runs: wrong options, damaged checkpoints, full disks, signals."""

import contextlib
import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tensordict import TensorDictBase

from rl_trainers import checkpoint
from rl_trainers.checkpoint import load_checkpoint, save_checkpoint
from rl_trainers.cli import main
from rl_trainers.errors import CheckpointError
from rl_trainers.train import episode_metrics

SMALL = [
    *("env.name=CartPole-v1", "env.num_envs=2", "collector.frames_per_batch=64", "network.num_cells=[8]"),
    *("ppo.num_epochs=1", "ppo.minibatch_size=64", "evaluation.episodes=0", "progress=false"),
    *("logger.tensorboard=false", "checkpoint.interval=1"),
]
CommandLine = Callable[..., tuple[int, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs a command line in this process; gives the exit code and all that was printed."""

    def run(*arguments: str) -> tuple[int, str]:
        try:
            code = main(arguments)
        except SystemExit as error:
            code = int(str(error.code))
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two batches."""
    folder = tmp_path_factory.mktemp("runs")
    assert main(["ppo", *SMALL, "collector.total_frames=128", f"run_dir={folder}", "run_name=run"]) == 0
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of that run, to damage."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def contains(text: str, *parts: str) -> None:
    """`text` has each of `parts`, in this order, and no traceback."""
    assert "Traceback" not in text
    position = 0
    for part in parts:
        found = text.find(part, position)
        assert found >= 0, f"{part!r} is not in {text[position:]!r} of {text!r}"
        position = found + len(part)


# --------------------------------------------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["ppo", "env.nam=x"], ["env.nam", "no such option", "Did you mean env.name", "--help"]),
        (["ppo", "collector.total_frames=abc"], ["collector.total_frames", "expected int", "'abc'"]),
        (["ppo", "collector.frames_per_batch=2047"], ["collector.frames_per_batch", "2047", "=8 env", "Set", "2048"]),
        (["ppo", "ppo.critic_loss=l3"], ["ppo.critic_loss", "l2, l1, smooth_l1", "'l3'"]),
        (
            ["ppo", "optim.lr=-1", "sed=1"],
            ["2 mistakes", "sed", "Did you mean seed", "optim.lr", "greater than 0", "-1"],
        ),
        (["ppo", "env.name=HalfCheeta-v5"], ["env.name", "HalfCheeta-v5", "Did you mean HalfCheetah-v5"]),
        (["ppo", "env.options={ctrl_cost_weigh: 1}"], ["env.options", '"ctrl_cost_weigh"', "Rename or drop it"]),
        (["ppo", "nonsense"], ["nonsense", "expected key=value"]),
        (["ppo", "env=3"], ["env", "group of options", "env.name"]),
        (["ppo", "device=nowhere"], ["device", "'nowhere'", "Set device=cpu"]),
        (["ppo", "--config", "nothere.yaml"], ["nothere.yaml", "cannot be read"]),
        (["ppo", "run_dir=/proc/nothere"], ["run folder", "/proc/nothere", "Choose another run_dir"]),
        (["resume", "nothere"], ["nothere is not a run", "config.yaml", "rl-train ppo printed"]),
        (["evaluate", "nothere"], ["nothere is not a run", "config.yaml"]),
        (["plot", "nothere"], ["nothere is not a run", "config.yaml"]),
        (["video", "nothere"], ["nothere is not a run", "config.yaml"]),
        (["evaluate", "nothere", "--episodes", "0"], ["--episodes", "at least 1", "0"]),
        (["pp"], ["invalid choice: 'pp'", "ppo"]),
        ([], ["COMMAND"]),
    ],
)
def test_a_wrong_command_ends_with_code_2(
    arguments: list[str], parts: list[str], command: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option, what it may be and what was given are named, without a traceback, and no run is made."""
    monkeypatch.chdir(tmp_path)
    code, text = command(*arguments)
    assert code == 2
    contains(text, *parts)
    assert not (tmp_path / "runs").exists()


def _replace(old: str, new: str) -> Callable[[Path], object]:
    return lambda run: (run / "config.yaml").write_text((run / "config.yaml").read_text().replace(old, new))


@pytest.mark.parametrize(
    ("damage", "arguments", "code", "parts"),
    [
        (lambda run: (run / "metrics.csv").unlink(), ["plot"], 2, ["metrics.csv is not there", "logger.csv=true"]),
        (lambda run: (run / "metrics.csv").write_text(""), ["plot"], 2, ["metrics.csv holds no rows", "a header"]),
        (lambda run: (run / "metrics.csv").write_bytes(b"\xff"), ["plot"], 2, ["metrics.csv is no text", "backup"]),
        (lambda run: None, ["plot", "--output=curve.doc"], 2, ["--output", ".png", "curve.doc"]),
        (
            lambda run: (run / "metrics.csv").write_text("a\nb\n"),
            ["resume"],
            2,
            ["metrics.csv", "not what a run writes"],
        ),
        (lambda run: None, ["resume", "seed=3"], 2, ["seed=3", "cannot change", "another run"]),
        (_replace("num_cells", "num_cell"), ["resume"], 2, ["network.num_cell", "Did you mean network.num_cells"]),
        (_replace("CartPole-v1", "CartPol-v1"), ["resume"], 2, ["env.name", "CartPol-v1", "Did you mean CartPole-v1"]),
        (
            _replace("CartPole-v1", "CartPol-v1"),
            ["evaluate"],
            2,
            ["env.name", "CartPol-v1", "Did you mean CartPole-v1"],
        ),
        (
            _replace("- 8", "- 16"),
            ["resume"],
            1,
            ["checkpoint does not fit", "config.yaml", "size mismatch", "Restore"],
        ),
        (
            _replace("num_envs: 2", "num_envs: 4"),
            ["resume"],
            1,
            ["does not fit", "(4,)", "(2,)", "Restore config.yaml"],
        ),
    ],
)
def test_a_run_that_was_edited_is_refused(
    damage: Callable[[Path], object], arguments: list[str], code: int, parts: list[str], run: Path, command: CommandLine
) -> None:
    """What was changed in a run's folder is named; nothing ends in a traceback."""
    damage(run)
    name, *more = arguments
    total = ["collector.total_frames=256"] if name == "resume" else []
    found, text = command(name, str(run), *more, *total)
    assert found == code, text
    contains(text, *parts)


# --------------------------------------------------------------------------------------------------------- checkpoints


def _edit(change: Callable[[Any], object]) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return edit


def _flip(folder: Path) -> None:
    content = bytearray((folder / "model.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.pt").write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (_flip, ["model.pt is damaged", "SHA-256", "found", "backup"]),
        (
            lambda folder: os.truncate(folder / "model.pt", 9),
            ["model.pt is damaged", "bytes", "found 9 bytes", "backup"],
        ),
        (lambda folder: (folder / "model.pt").unlink(), ["model.pt is missing", "backup"]),
        (
            lambda folder: (folder / "manifest.json").unlink(),
            ["not a complete checkpoint", "manifest.json", "model.pt"],
        ),
        (lambda folder: (folder / "manifest.json").write_text("{"), ["manifest.json is damaged", "backup"]),
        (_edit(lambda m: m["files"].update({"model.pt": {}})), ["manifest.json is damaged", "backup"]),
        (_edit(lambda m: m["files"].pop("model.pt")), ["does not fit", "model", "Restore"]),
        (_edit(lambda m: m["counters"].update(unknown=1)), ["does not fit", "unknown", "Restore"]),
        (
            _edit(lambda m: m.update(format_version=99)),
            ["newer rl-trainers", "format 1", "format 99", "pip install -U"],
        ),
        (lambda folder: shutil.rmtree(folder), ["not a complete checkpoint", "no such folder"]),
    ],
)
def test_a_damaged_checkpoint_is_refused(
    damage: Callable[[Path], object], parts: list[str], run: Path, command: CommandLine
) -> None:
    """Corrupt, partial and newer checkpoints are named with what is wrong; resuming changes nothing."""
    damage(run / "checkpoint")
    rows = (run / "metrics.csv").read_bytes()
    code, text = command("resume", str(run), "collector.total_frames=256")
    assert code == 1
    contains(text, "checkpoint", *parts)
    assert (run / "metrics.csv").read_bytes() == rows


# ----------------------------------------------------------------------------------------------------------- full disk


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 512 KiB where this process may mount one, else an ordinary folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    is_mounted = (
        mount is not None and subprocess.run([mount, *options], capture_output=True, check=False).returncode == 0
    )
    yield folder
    if is_mounted:
        subprocess.run(["umount", str(folder)], check=True)


def _fill(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no room in `folder`: really where it is a disk of its own, else by errors of the calls that write."""
    if os.path.ismount(folder):
        with (folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"0" * 1024)
        return

    def refuse(path: Path, content: bytes) -> None:
        if folder in path.parents:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        path.write_bytes(content)

    monkeypatch.setattr(checkpoint, "_write_file", refuse)


def test_a_full_disk_leaves_the_checkpoint_before_it(tiny_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save that does not fit names the place and the fix; what was saved before is intact, and saving works again."""
    place = tiny_disk / "checkpoint"
    save_checkpoint(place, {"model": {"weight": 1}}, {"frames": 1})
    with monkeypatch.context() as patch:
        _fill(tiny_disk, patch)
        with pytest.raises(CheckpointError) as caught:
            save_checkpoint(place, {"model": {"weight": 2}}, {"frames": 2})
        contains(str(caught.value), "checkpoint", str(place), "No space left", f"intact in {place}", "free space")
        assert load_checkpoint(place) == ({"model": {"weight": 1}}, {"frames": 1})
        assert not (tiny_disk / "checkpoint.partial").exists()
    (tiny_disk / "filler").unlink(missing_ok=True)
    save_checkpoint(place, {"model": {"weight": 2}}, {"frames": 2})
    assert load_checkpoint(place) == ({"model": {"weight": 2}}, {"frames": 2})


def test_training_on_a_disk_that_fills_up_loses_nothing(
    tiny_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: CommandLine, trained: Path
) -> None:
    """The run goes on, its last state goes elsewhere and the message says where; moved back, it is resumed from."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run = Path(shutil.copytree(trained, tiny_disk / "run", ignore=shutil.ignore_patterns("*.png")))
    elsewhere = tmp_path / "run-checkpoint"
    with monkeypatch.context() as patch:

        def fill_at_the_first_batch(data: TensorDictBase) -> dict[str, float]:
            if not (tiny_disk / "filler").exists():
                _fill(tiny_disk, monkeypatch=patch)
                (tiny_disk / "filler").touch()
            return episode_metrics(data)

        patch.setattr("rl_trainers.train.episode_metrics", fill_at_the_first_batch)
        code, text = command("resume", str(run), "collector.total_frames=448")
    assert code == 1
    contains(text, f"{run / 'checkpoint'} could not be written (No space left", "intact", "Training goes on")
    contains(text, f"newest state is saved in {elsewhere}: move it to {run / 'checkpoint'}")
    assert load_checkpoint(run / "checkpoint")[1]["frames"] == 128
    assert load_checkpoint(elsewhere)[1]["frames"] == 448
    (tiny_disk / "filler").unlink()
    shutil.rmtree(run / "checkpoint")
    shutil.move(elsewhere, run / "checkpoint")
    assert command("resume", str(run), "collector.total_frames=512")[0] == 0
    assert load_checkpoint(run / "checkpoint")[1]["frames"] == 512


@pytest.mark.parametrize("failing", ["config", "curve"])
def test_files_that_do_not_fit_are_named(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: CommandLine
) -> None:
    """A run folder that cannot be made leaves nothing behind; a curve that cannot be drawn costs only the curve."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = "rl_trainers.run_folder.save_config" if failing == "config" else "rl_trainers.train.plot_run"
    monkeypatch.setattr(target, refuse)
    options = ["collector.total_frames=64", f"run_dir={tmp_path}", "run_name=run"]
    code, text = command("ppo", *SMALL, *options)
    if failing == "config":
        assert code == 2
        contains(text, "run folder", "config.yaml cannot be written (No space left", "Free space")
        assert not (tmp_path / "run").exists()
    else:
        assert code == 0
        contains(text, "curve", "curve.png cannot be written (No space left", "rl-train plot")
        assert load_checkpoint(tmp_path / "run" / "checkpoint")[1]["frames"] == 64


# ------------------------------------------------------------------------------------------------------------- signals


def _start(folder: Path, total: int) -> subprocess.Popen[str]:
    arguments = [*SMALL, f"collector.total_frames={total}", f"run_dir={folder}", "run_name=run"]
    program = [str(Path(sys.executable).with_name("rl-train")), "ppo", *arguments]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _rows(run: Path) -> list[list[str]]:
    path = run / "metrics.csv"
    return list(csv.reader(path.read_text().splitlines())) if path.exists() else []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_run_that_is_stopped_can_be_resumed(number: signal.Signals, tmp_path: Path, command: CommandLine) -> None:
    """Ctrl-C and SIGTERM save everything and say how to go on; after kill -9 the last checkpoint is there."""
    process = _start(tmp_path, total=10_000_000)
    run = tmp_path / "run"
    deadline = time.monotonic() + 60
    while len(_rows(run)) < 4 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    text, _ = process.communicate(timeout=60)
    frames = load_checkpoint(run / "checkpoint")[1]["frames"]
    if number is signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        assert frames >= 64
    else:
        assert process.returncode == 130
        contains(text, f"{number.name}: stopping after this batch and saving", f"stopped at {frames:,} frames")
        contains(text, f"Continue with: rl-train resume {run}")
        assert int(_rows(run)[-1][0]) == frames
        assert (run / "curve.png").exists()
    code, text = command("resume", str(run), f"collector.total_frames={frames + 128}")
    assert code == 0, text
    assert [int(row[0]) for row in _rows(run)[1:]] == list(range(64, frames + 129, 64))
