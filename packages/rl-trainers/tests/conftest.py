"""Small configurations that train in a second."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rl_trainers import PPOConfig, parse_config

SMALL = (
    "env.num_envs=2",
    "collector.frames_per_batch=64",
    "collector.total_frames=256",
    "network.num_cells=[8]",
    "ppo.num_epochs=2",
    "ppo.minibatch_size=32",
    "evaluation.episodes=0",
    "logger.tensorboard=false",
    "progress=false",
)

MakeConfig = Callable[..., PPOConfig]


@pytest.fixture
def small_overrides(tmp_path: Path) -> list[str]:
    """Overrides of a run that takes about a second, in a folder of its own."""
    return [*SMALL, f"run_dir={tmp_path / 'runs'}"]


@pytest.fixture
def make_config(small_overrides: list[str]) -> MakeConfig:
    """A small configuration, changed by further overrides."""

    def make(*overrides: str) -> PPOConfig:
        return parse_config([*small_overrides, *overrides])

    return make
