"""Every environment that Gymnasium and ale-py register, against the raw environment under the same seed.

As a program it checks the environments that it is given the names of.
"""

import importlib.util
import io
import itertools
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ale_py  # registers the Atari games
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict, TensorDictBase

from rl_envs import GymEnv, StateNotSupportedError, check_env_specs
from rl_specs import NestedKey, join_key

gymnasium.register_envs(ale_py)


@dataclass(frozen=True)
class LeftOut:
    """Environments that cannot be made here.

    Args:
        reason: why not.
        module: the module that they lack; where it is installed, they are checked. None: they cannot be made anywhere.
        entry_points: how their entry points start.
    """

    reason: str
    module: str | None
    entry_points: tuple[str, ...]


IN_JAX = ("gymnasium.envs.phys2d", "gymnasium.envs.tabular")
"""Entry points of environments that are checked in a process of their own: one in which JAX has run warns at forks."""
LEFT_OUT = [
    LeftOut("written in JAX", "jax", IN_JAX),
    LeftOut("Box2D", "Box2D", ("gymnasium.envs.box2d",)),
    LeftOut("MuJoCo's versions 2 and 3 need mujoco-py, which has ended", None, ("<function _raise_mujoco_py_error",)),
    LeftOut("Gym's own environments, through shimmy", "shimmy", ("shimmy", "<function _raise_shimmy_error")),
    LeftOut("needs MuJoCo below 3", None, ("gymnasium.envs.mujoco.pusher_v4",)),
]
FEWEST_CHECKED = 395
FEWEST_IN_JAX = 5
NEEDED = ("Box2D", "jax", "flax")
"""Modules of extras without which environments would be left out of these tests."""

OPAQUE = ("ale_py", "gymnasium.envs.box2d", *IN_JAX)
"""Entry points of environments whose simulators cannot be read out."""


def import_quietly(name: str) -> None:
    """Import a module where it is installed; that of Box2D ends the program where warnings are errors."""
    if importlib.util.find_spec(name) is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)


import_quietly("Box2D")


def left_out(spec: Any) -> LeftOut | None:
    """Why an environment is not checked; None: it is."""
    for row in LEFT_OUT:
        is_there = row.module is not None and importlib.util.find_spec(row.module) is not None
        if str(spec.entry_point).startswith(row.entry_points) and not is_there:
            return row
    return None


SPECS = [
    spec
    for spec in gymnasium.registry.values()
    if str(spec.entry_point).startswith(
        ("gymnasium.", "ale_py.", *itertools.chain(*(r.entry_points for r in LEFT_OUT)))
    )
]
CHECKED = sorted(spec.id for spec in SPECS if left_out(spec) is None)
APART = [name for name in CHECKED if str(gymnasium.registry[name].entry_point).startswith(IN_JAX)]
NOT_CHECKED = sorted(spec.id for spec in SPECS if left_out(spec) is not None)


def is_variant(name: str) -> bool:
    """Whether this is one of the older names of an Atari game: the class of `ALE/...-v5` with other options."""
    return str(gymnasium.registry[name].entry_point).startswith("ale_py") and not name.startswith("ALE/")


STEPS = 200
"""Steps to compare."""
USUAL_GAMES = ("ALE/Pong-v5", "ALE/Breakout-v5", "ALE/SpaceInvaders-v5", "PongNoFrameskip-v4")
"""Atari games that are checked every time; the other ones are in the slow tests."""


def each(names: list[str]) -> list[Any]:
    """Parameters, those of all but the usual Atari games marked slow."""
    names = [name for name in names if name not in APART]
    is_atari = {name: str(gymnasium.registry[name].entry_point).startswith("ale_py") for name in names}
    return [
        pytest.param(name, marks=pytest.mark.slow if is_atari[name] and name not in USUAL_GAMES else ())
        for name in names
    ]


def raw_entries(space: Any, value: Any, key: tuple[str, ...]) -> Iterator[tuple[NestedKey, Any]]:
    """Names and numbers of the parts of a raw observation, discrete ones counted from 0."""
    match space:
        case spaces.Tuple():
            for index, inner in enumerate(space.spaces):
                yield from raw_entries(inner, value[index], (*key, str(index)))
        case spaces.Dict():
            for name, inner in space.spaces.items():
                yield from raw_entries(inner, value[name], (*key, name))
        case spaces.Discrete():
            yield join_key(*key or ("observation",)), np.asarray(value - space.start)
        case _:
            yield join_key(*key or ("observation",)), np.asarray(value)


def raw_action(space: Any, action: torch.Tensor) -> Any:
    """The raw action that an action of the spec stands for."""
    array = action.numpy()
    return np.int64(array + space.start) if isinstance(space, spaces.Discrete) else array.astype(space.dtype)


def assert_observed(data: TensorDictBase, space: Any, value: Any, when: str) -> None:
    """Compare the observations in `data` with a raw one."""
    for key, expected in raw_entries(space, value, ()):
        found = data[key].numpy()
        assert found.shape == expected.shape, f"{key} {when}"
        assert np.array_equal(found, expected.astype(found.dtype)), f"{key} {when}"


@pytest.mark.filterwarnings("ignore::DeprecationWarning:gymnasium", "ignore::UserWarning:gymnasium")
@pytest.mark.parametrize("name", each(CHECKED))
def test_data_are_those_of_gymnasium(name: str) -> None:
    """Specs are true; observations, rewards, flags, ends of episodes and resets are those of the raw environment."""
    with GymEnv(name) as another:
        check_env_specs(another, seed=1)
    raw = gymnasium.make(name)
    space = raw.observation_space
    with GymEnv(name, categorical_action_encoding=True) as env, torch.random.fork_rng():
        torch.manual_seed(0)
        root: TensorDictBase = env.reset(seed=3)
        observation, _ = raw.reset(seed=3)
        for index in range(STEPS):
            assert_observed(root, space, observation, f"before step {index}")
            stepped, following = env.step_and_maybe_reset(env.rand_action(root))
            observation, reward, terminated, truncated, _ = raw.step(raw_action(raw.action_space, stepped["action"]))
            after = stepped["next"]
            assert_observed(after, space, observation, f"after step {index}")
            assert after["reward"].item() == np.float32(reward)
            flags = [after[flag].item() for flag in ("terminated", "truncated", "done")]
            assert flags == [bool(terminated), bool(truncated), bool(terminated or truncated)]
            if terminated or truncated:
                observation, _ = raw.reset()
            root = following
    raw.close()


def through_a_file(state: dict[str, Any]) -> Any:
    """`state` as `torch.save` writes and `torch.load(weights_only=True)` reads it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def steps(env: GymEnv, root: TensorDictBase, actions: list[torch.Tensor]) -> TensorDictBase:
    """The steps that these actions make, with resets."""
    taken = []
    for action in actions:
        stepped, root = env.step_and_maybe_reset(root.copy().set("action", action))
        taken.append(stepped.clone())
    batch: TensorDictBase = TensorDict.stack(taken, 0)
    return batch


@pytest.mark.filterwarnings("ignore::DeprecationWarning:gymnasium", "ignore::UserWarning:gymnasium")
@pytest.mark.parametrize("name", each([name for name in CHECKED if not is_variant(name)]))
def test_state_in_mid_episode(name: str) -> None:
    """A new environment goes on bit for bit from a saved state; where there is none, an error says where to resume."""
    is_opaque = str(gymnasium.registry[name].entry_point).startswith(OPAQUE)
    with GymEnv(name) as env, GymEnv(name) as other, torch.random.fork_rng():
        torch.manual_seed(0)
        assert env.has_exact_state is not is_opaque
        if is_opaque:
            assert env.state_dict() == {}
            with pytest.raises(StateNotSupportedError, match="episode boundary"):
                env.get_state()
            return
        root: TensorDictBase = env.reset(seed=5)
        for _ in range(10):
            root = env.step_and_maybe_reset(env.rand_action(root))[1]
        state = through_a_file(env.state_dict())
        actions = [env.rand_action()["action"] for _ in range(30)]
        expected = steps(env, root, actions)
        other.load_state_dict(state)
        assert (steps(other, root, actions) == expected).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:gymnasium", "ignore::UserWarning:gymnasium")
@pytest.mark.parametrize("name", NOT_CHECKED)
def test_what_is_left_out_cannot_be_made(name: str) -> None:
    """An environment that is not checked is one that Gymnasium cannot make here."""
    with pytest.raises(Exception, match=r"(?i)jax|box2d|mujoco|shimmy|flax"):
        gymnasium.make(name)


def test_those_in_jax(tmp_path: Path) -> None:
    """The two tests above, for environments written in JAX, in a process of their own."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    program = [sys.executable, "-W", "ignore", __file__, *APART]
    run = subprocess.run(program, env={**os.environ, **cache}, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == APART


def test_nothing_that_these_tests_need_is_missing() -> None:
    """Environments whose extras are not installed are named, and not left out in silence."""
    missing = [module for module in NEEDED if importlib.util.find_spec(module) is None]
    names = [name for name in NOT_CHECKED if (row := left_out(gymnasium.registry[name])) and row.module in NEEDED]
    assert not missing, f"{missing} missing, so {names} are not checked: pip install 'gymnasium[box2d,jax]'"


def test_how_many_are_checked() -> None:
    """Nearly all that is registered is checked: MuJoCo 4 and 5, Box2D, JAX, classic control, toy text, Atari."""
    assert len(CHECKED) >= FEWEST_CHECKED
    assert len(APART) >= FEWEST_IN_JAX
    kinds = ["CartPole-v1", "Taxi-v4", "Humanoid-v5", "Humanoid-v4", "ALE/Pong-v5", "PongNoFrameskip-v4"]
    assert {*kinds, "LunarLander-v3", "CarRacing-v3", "phys2d/CartPole-v1"} <= set(CHECKED)


if __name__ == "__main__":
    for checked in sys.argv[1:]:
        test_data_are_those_of_gymnasium(checked)
        test_state_in_mid_episode(checked)
        print(checked)
