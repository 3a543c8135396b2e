"""A film of a policy, made in a process of its own so that a missing display or GL library cannot harm a run."""

import os
import subprocess
import sys
from pathlib import Path

from rl_specs import message
from rl_trainers.errors import VideoError
from rl_trainers.run_folder import RunFolder

GL_BACKENDS = ("egl", "osmesa")
TIME_LIMIT_S = 600


def gl_backends() -> list[str | None]:
    """Values of `MUJOCO_GL` to try in turn; `None` leaves it as it is.

    A value that is set, or a display, is respected.
    """
    if os.environ.get("MUJOCO_GL") or os.environ.get("DISPLAY") or sys.platform != "linux":
        return [None]
    return list(GL_BACKENDS)


def record_video(run: RunFolder, output: Path | None = None) -> Path:
    """Film one episode of the policy in a run's checkpoint.

    Args:
        run: a run that has a checkpoint.
        output: the film; `video.mp4` in the run folder if not given.
    Returns:
        Where the film is.
    Raises:
        VideoError: imageio is missing, the environment has no picture, or no GL backend works.
    """
    target = output or run.video_file
    failures = []
    for backend in gl_backends():
        environment = dict(os.environ) if backend is None else {**os.environ, "MUJOCO_GL": backend}
        environment.setdefault("SDL_VIDEODRIVER", "dummy")
        command = [sys.executable, "-m", "rl_trainers.film", str(run.path), str(target)]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            failures.append(f"{backend or 'as set'}: no end after {TIME_LIMIT_S} s")
            continue
        if done.returncode == 0:
            return target
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        failures.append(f"{backend or 'as set'}: {lines[-1].strip() if lines else f'exit code {done.returncode}'}")
        if done.returncode == 2:
            break
    raise VideoError(
        message(
            "video",
            f"could not be recorded ({'; '.join(failures)})",
            fix="The run itself is complete. Install an EGL or OSMesa library and pip install rl-trainers[video], "
            f"then run rl-train video {run.path}",
        )
    )
