"""Tests of `rl_envs.gym._atari_state`: a console goes on from where it was."""

from typing import Any

import ale_py
import gymnasium
import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs import GymEnv
from rl_envs.gym._atari_state import is_console, read_console, write_console

gymnasium.register_envs(ale_py)


def test_sticky_actions_and_lives_travel() -> None:
    """Two games of which one was put into the state of the other in mid-episode stay equal, lost lives included."""
    names: dict[str, Any] = {"repeat_action_probability": 0.5, "frameskip": (2, 5)}
    env, other = (GymEnv("ALE/Breakout-v5", num_envs=2, **names) for _ in range(2))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        root: TensorDictBase = env.reset(seed=1)
        for _ in range(40):
            root = env.step_and_maybe_reset(env.rand_action(root))[1]
        other.reset(seed=2)
        other.load_state_dict(env.state_dict())
        actions = [env.rand_action()["action"] for _ in range(120)]
    rolled = []
    for each in (env, other):
        at, taken = root, []
        for action in actions:
            stepped, at = each.step_and_maybe_reset(at.copy().set("action", action))
            taken.append(stepped.select("observation", ("next", "done"), ("next", "reward")).clone())
        rolled.append(TensorDict.stack(taken, -1))
    assert (rolled[0] == rolled[1]).all()
    lives = [each.unwrapped.ale.lives() for env in (env, other) for each in env.unwrapped_envs]
    assert lives[:2] == lives[2:]


def test_states_of_something_else_are_refused() -> None:
    """A state of a MuJoCo simulation is no state of a console."""
    console: Any = ale_py.ALEInterface()
    assert is_console(console)
    assert not is_console(object())
    with pytest.raises(ValueError, match="another simulator"):
        write_console(console, {"integration": torch.zeros(3)})


def test_a_state_is_a_tensor_of_bytes() -> None:
    """The state is of its own: it does not change when the game goes on."""
    env = gymnasium.make("ALE/Pong-v5")
    env.reset(seed=0)
    console: Any = env.unwrapped.ale  # type: ignore[attr-defined]
    state = read_console(console)
    before = state["console"].clone()
    env.step(1)
    assert state["console"].dtype is torch.uint8
    assert torch.equal(state["console"], before)
    assert not torch.equal(read_console(console)["console"], before)
