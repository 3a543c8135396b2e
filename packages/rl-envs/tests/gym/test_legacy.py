"""Tests of `rl_envs.gym.legacy`: environments of Gym's older protocol."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict, TensorDictBase

from rl_envs import EnvBase, GymWrapper, LegacyGymEnv, StateNotSupportedError, check_env_specs
from rl_envs.gym.legacy import modern_space
from rl_envs.testing import EnvConformance
from rl_specs import SpecError


class OldEnv:
    """A walk of Gym's older protocol; ends at 3 by itself, after 5 steps by the time limit."""

    def __init__(self, random: Any = np.random.RandomState) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.make_random = random
        self.seed(0)
        self.closed = False

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Restart the random stream."""
        self.random = self.make_random(seed)
        return [seed]

    def reset(self) -> Any:
        """The observation alone."""
        self.place, self.count = float(self.random.uniform(-1, 1)), 0
        return np.array([self.place], dtype=np.float32)

    def step(self, action: int) -> tuple[Any, float, bool, dict[str, Any]]:
        """Four values."""
        assert self.action_space.contains(action)
        self.place += 1.0 if action else -0.25
        self.count += 1
        is_there, is_late = self.place > 3, self.count == 5
        info = {"TimeLimit.truncated": not is_there} if is_late else {}
        return np.array([self.place], dtype=np.float32), self.place, is_there or is_late, info

    def render(self, mode: str = "human") -> Any:
        """A frame in mode `rgb_array`."""
        return np.full((2, 3, 3), self.count, dtype=np.uint8) if mode == "rgb_array" else None

    def close(self) -> None:
        """Note it."""
        self.closed = True


class TestConformance(EnvConformance):
    """Environments of the older protocol keep every promise."""

    def make_env(self) -> EnvBase:
        """Three of them."""
        return GymWrapper([LegacyGymEnv(OldEnv()) for _ in range(3)])


class TestOne(EnvConformance):
    """So does a single one."""

    def make_env(self) -> EnvBase:
        """With frames."""
        return GymWrapper(LegacyGymEnv(OldEnv()), from_pixels=True, pixels_only=False)


def actions_of(env: GymWrapper, action: int) -> TensorDictBase:
    """An episode of one action."""

    def policy(data: TensorDictBase) -> TensorDictBase:
        return data.set("action", torch.tensor(action))

    return env.rollout(10, policy)


def test_ends_of_episodes() -> None:
    """A time limit is `truncated`, any other end `terminated`, also at the step of the limit."""
    env = GymWrapper(LegacyGymEnv(OldEnv()), categorical_action_encoding=True)
    check_env_specs(env)
    late = actions_of(env, 0)
    assert late["next", "truncated"].flatten().tolist() == [False] * 4 + [True]
    assert not late["next", "terminated"].any()
    there = actions_of(env, 1)
    assert there["next", "terminated"][-1].item()
    assert not there["next", "truncated"].any()
    assert there["next", "observation"][-1].item() > 3


def test_a_termination_at_the_limit() -> None:
    """`TimeLimit.truncated` False at the last step leaves it a termination; without an end the name says nothing."""
    inner = OldEnv()
    outcomes = iter([(False, {"TimeLimit.truncated": True}), (True, {"TimeLimit.truncated": False}), (True, {})])

    def step(action: int) -> Any:
        done, info = next(outcomes)
        return np.zeros(1, dtype=np.float32), 0.0, done, info

    inner.step = step  # type: ignore[method-assign]
    env = LegacyGymEnv(inner)
    assert [env.step(0)[2:4] for _ in range(3)] == [(False, False), (True, False), (True, False)]


def test_seeds() -> None:
    """A seed goes through `seed`, rows have streams of their own, and 63-bit seeds are reduced to what Gym takes."""
    first, second = (GymWrapper([LegacyGymEnv(OldEnv()) for _ in range(2)]) for _ in range(2))
    a, b = first.reset(seed=2**40)["observation"], second.reset(seed=2**40)["observation"]
    assert torch.equal(a, b)
    assert a[0].item() != a[1].item()
    raw = OldEnv()
    raw.seed(7)
    assert np.array_equal(first.reset(seed=7)["observation"][0].numpy(), raw.reset())


@pytest.mark.parametrize("random", [np.random.RandomState, lambda seed: np.random.default_rng(seed)])
def test_exact_state(random: Any) -> None:
    """An environment of plain values goes on bit for bit, its random generator included, of the old kind or the new."""

    def make() -> GymWrapper:
        return GymWrapper([LegacyGymEnv(OldEnv(random)) for _ in range(2)])

    env, other = make(), make()
    root: TensorDictBase = env.step_and_maybe_reset(env.rand_action(env.reset(seed=3)))[1]
    other.load_state_dict(env.state_dict())
    actions = [env.rand_action()["action"] for _ in range(12)]
    rolled = []
    for each in (env, other):
        at, taken = root, []
        for action in actions:
            stepped, at = each.step_and_maybe_reset(at.copy().set("action", action))
            taken.append(stepped.clone())
        rolled.append(TensorDict.stack(taken, -1))
    assert (rolled[0] == rolled[1]).all()


def test_state_out_of_reach() -> None:
    """What a wrapper of the older protocol holds is not read; the error says so."""

    class OldWrapper(OldEnv):
        """Holds an environment."""

        def __init__(self) -> None:
            super().__init__()
            self.env = OldEnv()

    with pytest.raises(StateNotSupportedError, match=r"OldWrapper.env \(OldEnv\).*episode boundary"):
        GymWrapper(LegacyGymEnv(OldWrapper())).get_state()


def test_frames_and_close() -> None:
    """Frames are those of mode `rgb_array`; `close` closes the environment."""
    inner = OldEnv()
    env = GymWrapper(LegacyGymEnv(inner), from_pixels=True)
    assert env.rollout(2)["next", "pixels"][:, 0, 0, 0].tolist() == [1, 2]
    env.close()
    assert inner.closed
    assert repr(env).startswith("GymWrapper(env=OldEnv")


def test_other_protocols_are_told_apart() -> None:
    """An environment that returns five values, or an `info` from its reset, is sent to `GymWrapper` alone."""
    inner = OldEnv()
    inner.reset = lambda: (np.zeros(1), {})  # type: ignore[method-assign]
    with pytest.raises(TypeError, match=r"OldEnv\).reset: the env has another protocol.*found 2 values"):
        LegacyGymEnv(inner).reset()
    inner.step = lambda action: (np.zeros(1), 0.0, False, False, {})  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(TypeError, match=r"OldEnv\).step: the env has another protocol.*found 5 values"):
        LegacyGymEnv(inner).step(0)
    with pytest.raises(TypeError, match="LegacyGymEnv"):
        GymWrapper(OldEnv())


class Box(SimpleNamespace):
    """As Gym's."""


class Discrete(SimpleNamespace):
    """As Gym's."""


class MultiDiscrete(SimpleNamespace):
    """As Gym's."""


class MultiBinary(SimpleNamespace):
    """As Gym's."""


class Dict(SimpleNamespace):
    """As Gym's."""


class Tuple(SimpleNamespace):
    """As Gym's."""


class Maze(SimpleNamespace):
    """Of nobody's."""


def test_spaces_of_gym() -> None:
    """Gym's spaces, known by their names, become Gymnasium's; others are errors."""
    box = Box(low=np.zeros(2, np.float32), high=np.ones(2, np.float32), dtype=np.dtype(np.float32))
    assert modern_space(box) == spaces.Box(0, 1, (2,))
    assert modern_space(Discrete(n=3)) == spaces.Discrete(3)
    assert modern_space(Discrete(n=3, start=2)) == spaces.Discrete(3, start=2)
    assert modern_space(MultiDiscrete(nvec=np.array([2, 3]))) == spaces.MultiDiscrete([2, 3])
    inner = Dict(spaces={"a": MultiBinary(n=2), "b": Tuple(spaces=[Discrete(n=2)])})
    expected = spaces.Dict({"a": spaces.MultiBinary(2), "b": spaces.Tuple([spaces.Discrete(2)])})
    assert modern_space(inner) == expected
    with pytest.raises(SpecError, match="found Maze"):
        modern_space(Maze(size=3))


def test_what_is_no_environment_is_refused() -> None:
    """An object without spaces is told apart at once."""
    with pytest.raises(TypeError, match=r"LegacyGymEnv: env is no environment. Expected .*step\(action\), found int"):
        LegacyGymEnv(3)  # type: ignore[arg-type]  # what is tested
