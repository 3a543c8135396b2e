"""A run that is killed and resumed in a new process ends exactly as one that was never killed.

Processes come from a fork server that has the package imported, so that each test does not wait for torch; a job is a
new process that has trained nothing.
"""

import csv
import multiprocessing
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rl_trainers import load_checkpoint

BATCHES = 20
KILL_AT_BATCH = 10

PRELOADED = [
    "rl_trainers.cli",
    "hydra.core.override_parser.overrides_parser",
    "gymnasium.envs.classic_control.cartpole",
    "gymnasium.envs.mujoco.inverted_double_pendulum_v5",
]

JOB = """
import functools, os, signal, sys
from pathlib import Path
from rl_trainers import checkpoint, cli, metrics, ppo, train
from rl_trainers.ppo import PPO

def dying(original, at, number):
    count = 0
    def call(*arguments, **keywords):
        nonlocal count
        count += 1
        if count == at:
            os.kill(os.getpid(), number)
        return original(*arguments, **keywords)
    return call

ppo.Overlap = functools.partial(ppo.Overlap, start_method="fork")  # a fresh interpreter takes seconds to start
train.plot_run = lambda run: None  # a picture takes longer than these runs
target, at, number = {kill!r}
places = {{
    "update": (PPO, "update"),
    "write": (checkpoint, "_write_file"),
    "rename": (Path, "rename"),
    "remove": (checkpoint, "_remove"),
    "row": (metrics.CSVLogger, "_write"),
}}
if target:
    owner, name = places[target]
    setattr(owner, name, dying(getattr(owner, name), at, number))
sys.exit(cli.main({arguments!r}))
"""

Job = Callable[..., int]


@pytest.fixture(scope="module")
def job() -> Job:
    """Runs the command line in a new process, which a signal may hit; gives the exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)

    def run(arguments: list[str], kill: tuple[str, int, int] = ("", 0, 0)) -> int:
        process = context.Process(
            target=exec, args=(JOB.format(kill=(kill[0], kill[1], int(kill[2])), arguments=arguments), {})
        )
        process.start()
        process.join(120)
        code = process.exitcode
        assert code is not None
        process.close()
        return code

    return run


def overrides(folder: Path, env: str, *more: str) -> list[str]:
    """Twenty small batches; a checkpoint every third."""
    return [
        "ppo", f"env.name={env}", "env.num_envs=2", "collector.frames_per_batch=32",
        f"collector.total_frames={32 * BATCHES}", "network.num_cells=[8]", "ppo.num_epochs=2", "ppo.minibatch_size=16",
        "optim.anneal=true", "evaluation.episodes=1", "env.max_steps=50", "logger.tensorboard=false", "progress=false",
        "checkpoint.interval=3", f"run_dir={folder}", *more,
    ]  # fmt: skip


def rows(folder: Path) -> list[dict[str, str]]:
    """The metrics that do not depend on the clock, as text."""
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in csv.DictReader(file)]


def assert_equal(a: Any, b: Any, path: str = "checkpoint") -> int:
    """Two states are equal to the last bit; gives the number of tensors compared."""
    assert type(a) is type(b), path
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, path
        assert a.shape == b.shape, path
        assert a.contiguous().view(-1).numpy().tobytes() == b.contiguous().view(-1).numpy().tobytes(), path
        return 1
    if isinstance(a, dict):
        assert list(a) == list(b), path
        return sum(assert_equal(a[key], b[key], f"{path}[{key!r}]") for key in a)
    if isinstance(a, list | tuple):
        assert len(a) == len(b), path
        return sum(assert_equal(x, y, f"{path}[{index}]") for index, (x, y) in enumerate(zip(a, b, strict=True)))
    assert a == b, path
    return 0


def assert_same_end(one: Path, other: Path) -> None:
    """Checkpoint, metrics and evaluation of two runs are the same."""
    (parts_a, counters_a), (parts_b, counters_b) = (
        load_checkpoint(one / "checkpoint"),
        load_checkpoint(other / "checkpoint"),
    )
    assert assert_equal(parts_a, parts_b) > 20
    assert counters_a["frames"] == counters_b["frames"] == 32 * BATCHES
    assert rows(one) == rows(other)
    assert len(rows(one)) == BATCHES
    assert (one / "evaluation.json").read_bytes() == (other / "evaluation.json").read_bytes()


@pytest.fixture(scope="module")
def whole_run(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run of an environment that nothing interrupts, made once."""
    made: dict[str, Path] = {}

    def get(env: str) -> Path:
        if env not in made:
            folder = tmp_path_factory.mktemp("whole")
            assert job(overrides(folder, env, "run_name=whole")) == 0
            made[env] = folder / "whole"
        return made[env]

    return get


MUJOCO, CLASSIC, NATIVE = "InvertedDoublePendulum-v5", "Pendulum-v1", "PendulumEnv"


@pytest.mark.parametrize(
    ("env", "target", "at"),
    [
        (MUJOCO, "update", KILL_AT_BATCH + 1),
        (MUJOCO, "write", 24),
        (MUJOCO, "rename", 7),
        (CLASSIC, "update", KILL_AT_BATCH + 1),
        (NATIVE, "update", KILL_AT_BATCH + 1),
        *(
            pytest.param(env, target, at, marks=pytest.mark.slow)
            for env, target, at in (
                (MUJOCO, "update", 1),
                (MUJOCO, "write", 28),
                (MUJOCO, "rename", 6),
                (MUJOCO, "remove", 12),
                (MUJOCO, "row", KILL_AT_BATCH),
                (CLASSIC, "write", 25),
                (NATIVE, "rename", 7),
                ("CartPole-v1", "update", KILL_AT_BATCH + 1),
            )
        ),
    ],
)
def test_kill_and_resume_is_exact(
    job: Job, whole_run: Callable[[str], Path], tmp_path: Path, env: str, target: str, at: int
) -> None:
    """Killed in an update, at a step of a save or at a row of metrics, the resumed run ends the same."""
    assert job(overrides(tmp_path, env, "run_name=cut"), (target, at, signal.SIGKILL)) == -signal.SIGKILL
    assert not (tmp_path / "cut" / "evaluation.json").exists()
    assert job(["resume", str(tmp_path / "cut")]) == 0
    assert_same_end(tmp_path / "cut", whole_run(env))


@pytest.mark.parametrize("batches", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_kill_and_resume_with_batches_ahead_is_exact(job: Job, tmp_path: Path, batches: int) -> None:
    """So it is when a worker collects ahead of the learner, with evaluations and an interruption besides."""
    options = [f"collector.overlap={batches}", "evaluation.interval=4"]
    assert job(overrides(tmp_path, MUJOCO, "run_name=whole", *options)) == 0
    kill, stop = ("update", KILL_AT_BATCH + 1, signal.SIGKILL), ("update", 3, signal.SIGINT)
    assert job(overrides(tmp_path, MUJOCO, "run_name=cut", *options), kill) == -signal.SIGKILL
    assert job(["resume", str(tmp_path / "cut")], stop) == 130
    assert job(["resume", str(tmp_path / "cut")]) == 0
    assert_same_end(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.slow
def test_killed_twice(job: Job, whole_run: Callable[[str], Path], tmp_path: Path) -> None:
    """A run that is killed, resumed, killed while saving and resumed again ends the same."""
    assert job(overrides(tmp_path, MUJOCO, "run_name=cut"), ("update", 8, signal.SIGKILL)) == -signal.SIGKILL
    assert job(["resume", str(tmp_path / "cut")], ("rename", 5, signal.SIGKILL)) == -signal.SIGKILL
    assert job(["resume", str(tmp_path / "cut")]) == 0
    assert_same_end(tmp_path / "cut", whole_run(MUJOCO))


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_stopped_and_resumed(
    job: Job, whole_run: Callable[[str], Path], tmp_path: Path, number: signal.Signals
) -> None:
    """A run that a person stops exits with 130, everything saved, and ends the same when resumed."""
    assert job(overrides(tmp_path, MUJOCO, "run_name=cut"), ("update", KILL_AT_BATCH, number)) == 130
    assert len(rows(tmp_path / "cut")) == KILL_AT_BATCH
    assert job(["resume", str(tmp_path / "cut")]) == 0
    assert_same_end(tmp_path / "cut", whole_run(MUJOCO))


def test_same_seed_same_end(job: Job, whole_run: Callable[[str], Path], tmp_path: Path) -> None:
    """Two processes with one seed end the same, to the last bit."""
    assert job(overrides(tmp_path, MUJOCO, "run_name=again")) == 0
    assert_same_end(tmp_path / "again", whole_run(MUJOCO))
