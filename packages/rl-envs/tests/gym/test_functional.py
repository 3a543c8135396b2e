"""Tests of `rl_envs.gym.functional`: the rules of an environment, handed their state at every call."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.experimental.functional import FuncEnv
from tensordict import TensorDict, TensorDictBase

from rl_envs import EnvBase, FuncEnvAdapter, GymWrapper, check_env_specs
from rl_envs.testing import EnvConformance


@dataclass(frozen=True)
class Physics:
    """Constants of the walk."""

    push: float = 1.0
    noise: float = 0.1


class Walk(FuncEnv[Any, Any, Any, Any, Any, Any, Any]):
    """A point that is pushed about, with noise, until it is 3 away."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Discrete(2)

    def get_default_params(self, **kwargs: Any) -> Physics:
        """The usual constants."""
        return Physics()

    def initial(self, rng: Any, params: Any = None) -> Any:
        """Somewhere near the middle: place and number of steps."""
        return {"place": rng.uniform(-0.5, 0.5), "count": 0}

    def transition(self, state: Any, action: Any, rng: Any, params: Any = None) -> Any:
        """A push, and noise."""
        push = params.push if action else -params.push
        return {"place": state["place"] + push + rng.normal() * params.noise, "count": state["count"] + 1}

    def observation(self, state: Any, rng: Any, params: Any = None) -> Any:
        """Both."""
        return np.array([state["place"], state["count"]], dtype=np.float64)

    def reward(self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None) -> Any:
        """How far it went to the right."""
        return next_state["place"] - state["place"]

    def terminal(self, state: Any, rng: Any, params: Any = None) -> Any:
        """Whether it is far away."""
        return np.bool_(abs(state["place"]) > 3)

    def state_info(self, state: Any, params: Any = None) -> dict[str, Any]:
        """Where it is."""
        return {"distance": abs(state["place"])}

    def transition_info(self, state: Any, action: Any, next_state: Any, params: Any = None) -> dict[str, Any]:
        """Where it is."""
        return {"distance": abs(next_state["place"])}

    def render_init(self, params: Any = None, **kwargs: Any) -> Any:
        """A canvas."""
        return {"frames": 0}

    def render_image(self, state: Any, render_state: Any, params: Any = None) -> Any:
        """A frame of the number of steps."""
        return {"frames": render_state["frames"] + 1}, np.full((2, 2, 3), state["count"], dtype=np.uint8)

    def render_close(self, render_state: Any, params: Any = None) -> None:
        """Note it."""
        self.closed = True


def make(num_envs: int = 3, **options: Any) -> GymWrapper:
    """Several points under the same rules."""
    rules = Walk()
    return GymWrapper([FuncEnvAdapter(rules, max_episode_steps=6) for _ in range(num_envs)], **options)


class TestConformance(EnvConformance):
    """Functional environments keep every promise, exact state among them."""

    def make_env(self) -> EnvBase:
        """Three points."""
        env = make()
        assert env.has_exact_state
        return env


def test_numbers_by_hand() -> None:
    """A step is the transition, the reward of it, and the observation of what came out, with the params given."""
    env = GymWrapper(
        FuncEnvAdapter(Walk(), params=Physics(push=2.0, noise=0.0)), categorical_action_encoding=True
    ).auto_register_info_dict()
    check_env_specs(env)
    root = env.reset(seed=3)
    start = np.random.default_rng(3).uniform(-0.5, 0.5)
    assert root["observation"].tolist() == [start, 0.0]
    first = env.step(root.set("action", torch.tensor(1)))["next"]
    assert first["observation"].tolist() == [start + 2.0, 1.0]
    assert first["reward"].item() == 2.0
    assert first["distance"].item() == pytest.approx(start + 2.0)
    second = env.step(root.set("action", torch.tensor(1)))["next"]
    assert second["terminated"].item()
    assert not second["truncated"].item()


def test_time_limit() -> None:
    """An episode that does not end by itself is truncated, and the next counts from zero."""
    env = GymWrapper(FuncEnvAdapter(Walk(), params=Physics(push=0.0, noise=0.0), max_episode_steps=3))
    rolled = env.rollout(7, break_when_any_done=False)
    assert rolled["next", "truncated"].flatten().tolist() == [False, False, True] * 2 + [False]
    assert not rolled["next", "terminated"].any()
    with pytest.raises(ValueError, match=r"max_episode_steps. Expected >= 1, found 0"):
        FuncEnvAdapter(Walk(), max_episode_steps=0)


def test_branches_from_one_state() -> None:
    """From a saved state the same actions give the same steps, and others give others, as often as one likes."""
    env = make(1)
    root: TensorDictBase = env.step_and_maybe_reset(env.rand_action(env.reset(seed=0)))[1]
    state = env.get_state()

    def branch(actions: list[int]) -> TensorDictBase:
        env.set_state(state)
        at, taken = root, []
        for action in actions:
            at = at.copy().set("action", torch.nn.functional.one_hot(torch.tensor([action]), 2))
            stepped, at = env.step_and_maybe_reset(at)
            taken.append(stepped.clone())
        batch: TensorDictBase = TensorDict.stack(taken, -1)
        return batch

    first, other, again = branch([0, 1, 1]), branch([1, 1, 0]), branch([0, 1, 1])
    assert (first == again).all()
    assert not torch.equal(first["next", "observation"], other["next", "observation"])


def test_frames() -> None:
    """Frames are drawn on one canvas, which is closed with the environment."""
    rules = Walk()
    env = GymWrapper(FuncEnvAdapter(rules), from_pixels=True)
    check_env_specs(env)
    assert env.rollout(2)["next", "pixels"][:, 0, 0, 0].tolist() == [1, 2]
    env.close()
    assert rules.closed


def test_the_state_can_be_looked_at() -> None:
    """The adapter shows the state and the rules; it is None before the first reset."""
    adapter = FuncEnvAdapter(Walk())
    env = GymWrapper(adapter)
    before = adapter.state
    env.rollout(2)
    assert before is None
    assert adapter.state["count"] == 2
    assert isinstance(adapter.unwrapped, Walk)
