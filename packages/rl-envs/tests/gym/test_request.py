"""Tests of `rl_envs.gym._request` and `rl_envs.gym._choice`: which backend runs what `GymEnv` is asked for."""

import multiprocessing
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDictBase

from rl_envs import EnvBase, GymEnv
from rl_envs.gym import _choice
from rl_envs.gym._choice import FEWEST_ENVS, default_backend


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the number of cores at hand."""

    def of(count: int) -> None:
        monkeypatch.setattr(_choice, "available_cores", lambda: count)

    return of


def seeded_rollout(env: EnvBase, steps: int) -> TensorDictBase:
    """A rollout with fixed actions."""
    env.set_seed(5)
    torch.manual_seed(0)
    return env.rollout(steps, break_when_any_done=False)


def test_default_is_serial_unless_processes_pay(cores: Any) -> None:
    """Processes are chosen for many slow environments on several cores, and for nothing else."""
    cores(4)
    assert default_backend("HalfCheetah-v5", FEWEST_ENVS, is_rendered=False) == "process"
    assert default_backend("HalfCheetah-v5", FEWEST_ENVS - 1, is_rendered=False) == "serial"
    assert default_backend("HalfCheetah-v5", None, is_rendered=False) == "serial"
    assert default_backend("HalfCheetah-v5", FEWEST_ENVS, is_rendered=True) == "serial"
    assert default_backend("CartPole-v1", 1000, is_rendered=False) == "serial"
    assert default_backend("NoSuchEnv-v0", 1000, is_rendered=False) == "serial"
    cores(1)
    assert default_backend("HalfCheetah-v5", FEWEST_ENVS, is_rendered=False) == "serial"


def test_default_is_serial_in_workers(cores: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was started by another one starts no further ones by itself."""
    cores(4)
    monkeypatch.setattr(_choice, "is_worker_process", lambda: True)
    assert default_backend("HalfCheetah-v5", FEWEST_ENVS, is_rendered=False) == "serial"
    monkeypatch.undo()
    cores(4)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: object())
    assert default_backend("HalfCheetah-v5", FEWEST_ENVS, is_rendered=False) == "serial"


def test_the_default_does_not_change_the_data(cores: Any) -> None:
    """A seeded rollout is the same, bit for bit, whether the machine makes it processes or not."""
    rollouts = []
    for count, is_here in ((2, False), (1, True)):
        cores(count)
        with GymEnv("Hopper-v5", num_envs=FEWEST_ENVS) as env:
            assert bool(env.unwrapped_envs) is is_here
            rollouts.append(seeded_rollout(env, 40))
    assert rollouts[0]["next", "done"].any()
    assert (rollouts[0] == rollouts[1]).all()


def test_processes_go_on_as_the_loop_does() -> None:
    """Rollouts are the same, bit for bit, in this process and in others; so is how a state saved there goes on here."""
    make = partial(GymEnv, "Pendulum-v1", num_envs=3, max_episode_steps=7, g=3.0)
    with make(backend="serial") as here, make(backend="process", num_processes=2) as spread:
        serial, parallel = seeded_rollout(here, 20), seeded_rollout(spread, 20)
        assert serial["next", "done"].any()
        assert (serial == parallel).all()
        root = spread.step_and_maybe_reset(spread.rand_action(spread.reset()))[1]
        here.load_state_dict(spread.state_dict())
        action = spread.rand_action()
        stepped = [env.step(root.copy().update(action)) for env in (spread, here)]
        assert (stepped[0] == stepped[1]).all()


def test_scripts_need_no_guard(tmp_path: Path) -> None:
    """A script without `if __name__ == "__main__"` runs once, with processes and environments of its own."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import gymnasium
            from gymnasium.envs.classic_control import PendulumEnv
            from rl_envs import GymEnv

            print("top")

            class Mine(PendulumEnv):
                pass

            gymnasium.register("Mine-v0", Mine, max_episode_steps=4)
            env = GymEnv("Mine-v0", num_envs=2, backend="process", num_processes=1)
            print(env.rollout(9).batch_size)
            env.close()
            """
        )
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.splitlines() == ["top", "torch.Size([2, 4])"]


class NotForSending(str):
    """A string that cannot be pickled."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse."""
        raise TypeError("not for sending")


def test_what_cannot_be_sent_stays_here(cores: Any) -> None:
    """Options that cannot be sent to a worker keep the environments in this process."""
    cores(4)
    env = GymEnv("Hopper-v5", num_envs=FEWEST_ENVS, xml_file=NotForSending("hopper.xml"))
    assert len(env.unwrapped_envs) == FEWEST_ENVS


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"backend": "threads"}, ValueError, r'unknown backend.*"serial" or "process" or "envpool".*\'threads\''),
        ({"backend": "process"}, ValueError, r"runs batches.*Pass num_envs"),
        ({"num_envs": 2, "backend": "process", "num_processes": 3}, ValueError, "num_processes"),
        ({"num_envs": 2, "num_processes": 2}, ValueError, r'num_processes is of no use.*backend="process"'),
        ({"num_envs": 2, "num_threads": 2}, ValueError, r'num_threads is of no use.*backend="envpool"'),
        ({"num_envs": 0}, ValueError, r"num_envs.*>= 1"),
        ({"num_envs": 2, "backend": "process", "gg": 1}, TypeError, r'unknown keyword "gg"'),
    ],
)
def test_mistakes(options: dict[str, Any], error: type[Exception], told: str) -> None:
    """A backend that is not known, and counts that make no sense or belong to another one, are refused."""
    with pytest.raises(error, match=told):
        GymEnv("Pendulum-v1", **options)


def test_unknown_names_are_told_at_once() -> None:
    """An unknown name is the error of `GymEnv`, with near matches, in processes too."""
    with pytest.raises(ValueError, match="Did you mean HalfCheetah-v5"):
        GymEnv("HalfCheeta-v5", num_envs=2, backend="process")
