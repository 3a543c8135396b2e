"""Films are made apart from the run, and a film that cannot be made harms nothing."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rl_trainers import PPOConfig, RunFolder, VideoError, create_run_folder, film, record_video
from rl_trainers.train import train
from rl_trainers.video import gl_backends

MakeConfig = Callable[..., PPOConfig]


def test_backends_are_tried_only_without_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chosen backend and a display are respected; without either, EGL and OSMesa are tried."""
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert gl_backends() == ["egl", "osmesa"]
    monkeypatch.setenv("DISPLAY", ":0")
    assert gl_backends() == [None]
    monkeypatch.delenv("DISPLAY")
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    assert gl_backends() == [None]


def _worker(monkeypatch: pytest.MonkeyPatch, codes: dict[str | None, int]) -> list[str | None]:
    """Replace the worker process by one that ends with a code per backend."""
    seen: list[str | None] = []

    def run(command: list[str], env: dict[str, str], **keywords: Any) -> subprocess.CompletedProcess[str]:
        backend = env.get("MUJOCO_GL")
        seen.append(backend)
        return subprocess.CompletedProcess(command, codes[backend], "", f"Traceback\nno {backend} library\n")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    return seen


def test_second_backend_is_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When EGL fails OSMesa is tried."""
    seen = _worker(monkeypatch, {"egl": 1, "osmesa": 0})
    assert record_video(RunFolder(tmp_path)) == tmp_path / "video.mp4"
    assert seen == ["egl", "osmesa"]


def test_no_backend_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When no backend works the error names each with its reason, and how to make the film later."""
    _worker(monkeypatch, {"egl": 1, "osmesa": 1})
    with pytest.raises(
        VideoError, match=r"egl: no egl library; osmesa: no osmesa library.*run itself is complete"
    ) as caught:
        record_video(RunFolder(tmp_path))
    assert f"rl-train video {tmp_path}" in str(caught.value)


def test_hopeless_cases_are_tried_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Exit code 2 says that another backend would not help."""
    seen = _worker(monkeypatch, {"egl": 2, "osmesa": 0})
    with pytest.raises(VideoError, match="no egl library"):
        record_video(RunFolder(tmp_path))
    assert seen == ["egl"]


def test_native_env_has_no_picture(make_config: MakeConfig, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The native pendulum cannot be filmed, and the worker says what to do instead."""
    run = create_run_folder(make_config("env.name=PendulumEnv"))
    assert film.main([str(run.path), str(tmp_path / "a.mp4")]) == 2
    assert "env.name=Pendulum-v1" in capsys.readouterr().err


def test_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without imageio the worker says what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert film.main([str(tmp_path), str(tmp_path / "a.mp4")]) == 2
    assert "pip install rl-trainers[video]" in capsys.readouterr().err


@pytest.mark.slow
def test_film_of_a_mujoco_policy(make_config: MakeConfig) -> None:
    """A short MuJoCo run is filmed without a display."""
    config = make_config("env.max_steps=10")
    run = create_run_folder(config)
    train(config, run)
    video = record_video(run)
    assert video.read_bytes()[4:8] == b"ftyp"
    assert [path.name for path in run.path.glob("*.mp4")] == ["video.mp4"]
