"""The examples run as they stand, with a small budget of frames."""

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def load(name: str) -> ModuleType:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ppo_in_60_lines_learns_to_balance() -> None:
    """A fifth of the default budget is enough to hold the pole several times longer than a random policy (22 steps)."""
    assert load("ppo_in_60_lines").main(total_frames=20_480) > 100


def test_ppo_in_60_lines_is_short() -> None:
    """A newcomer reads it in one sitting."""
    assert len((EXAMPLES / "ppo_in_60_lines.py").read_text().splitlines()) <= 62


def test_dqn_cartpole_runs() -> None:
    """Deep Q-learning with prioritized replay collects, trains and evaluates."""
    assert load("dqn_cartpole").main(total_frames=1280, updates_per_batch=1) > 0


@pytest.mark.slow
def test_dqn_cartpole_learns_to_balance() -> None:
    """With its own budget the greedy policy holds the pole at least ten times as long as a random one (22 steps)."""
    assert load("dqn_cartpole").main() > 220


def test_sac_pendulum_runs() -> None:
    """Soft actor-critic collects, trains and evaluates."""
    assert load("sac_pendulum").main(total_frames=832, num_envs=4, random_frames=800) < 0


@pytest.mark.slow
def test_sac_pendulum_learns_to_swing_up() -> None:
    """With its own budget the pendulum is swung up and held (a random policy returns about -1,200)."""
    assert load("sac_pendulum").main() > -300


def test_offline_recurrent_cartpole_runs() -> None:
    """A data set is collected, slices of it train a recurrent policy, which is evaluated."""
    assert load("offline_recurrent_cartpole").main(dataset_frames=2000, updates=2) > 0


@pytest.mark.slow
def test_offline_recurrent_cartpole_learns_to_balance() -> None:
    """Without velocities the recurrent policy holds the pole nearly as long as there is time (500 steps)."""
    assert load("offline_recurrent_cartpole").main() > 350


def test_her_bit_flipping_runs() -> None:
    """Hindsight replay collects, relabels, trains and evaluates."""
    assert 0.0 <= load("her_bit_flipping").main(episodes=3, bits=4) <= 1.0


@pytest.mark.slow
def test_her_bit_flipping_learns_what_it_cannot_without_hindsight() -> None:
    """Of 2^12 goals most are reached with hindsight, and hardly any in as many episodes without."""
    module = load("her_bit_flipping")
    assert module.main() > 0.8
    assert module.main(her_ratio=0.0) < 0.2


def test_ppo_mujoco_runs() -> None:
    """The MuJoCo example collects, trains and evaluates."""
    assert math.isfinite(load("ppo_mujoco").main(total_frames=1024, frames_per_batch=512))


def test_ppo_inverted_double_pendulum_runs_and_plots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The double pendulum example logs each batch, evaluates, anneals its learning rate and draws its plot."""
    module = load("ppo_inverted_double_pendulum")
    logs = module.main(total_frames=512, frames_per_batch=256, cells=32, init_frames=100)
    assert len(logs["reward"]) == 2
    assert len(logs["eval reward (sum)"]) == 1
    assert logs["lr"][1] < logs["lr"][0]
    module.plot(logs, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    assert "normalisation constant shape: torch.Size([9])" in capsys.readouterr().out
