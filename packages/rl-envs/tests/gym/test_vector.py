"""Tests of `rl_envs.gym._vector`."""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from tensordict import TensorDictBase

from rl_envs import EnvBase, GymEnv, GymWrapper, check_env_specs, step_mdp
from rl_envs.testing import EnvConformance
from rl_specs import MissingKeyError

MODES = [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED]

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")


class LengthEnv(gymnasium.Env[Any, Any]):
    """Episodes of random length; the observation says which step of which episode this is."""

    def __init__(self) -> None:
        box = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.observation_space = spaces.Dict({"where": box, "flag": spaces.Discrete(2)})
        self.action_space = spaces.Discrete(2)
        self.episode = -1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Draw a length."""
        super().reset(seed=seed)
        self.episode += 1
        self.count, self.length = 0, int(self.np_random.integers(1, 5))
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Count."""
        self.count += 1
        over = self.count >= self.length
        return (
            self._observation(),
            float(self.count),
            over and self.episode % 2 == 0,
            over and self.episode % 2 == 1,
            {},
        )

    def _observation(self) -> dict[str, Any]:
        return {"where": np.array([self.episode, self.count], dtype=np.float32), "flag": self.count % 2}


def vector(makers: list[Any], mode: AutoresetMode, is_async: bool) -> Any:
    """A vector environment in this process, or one of worker processes."""
    if is_async:
        return AsyncVectorEnv(makers, autoreset_mode=mode, context="fork")
    return SyncVectorEnv(makers, autoreset_mode=mode)


def make(
    mode: AutoresetMode, env: type[gymnasium.Env[Any, Any]] | str = LengthEnv, *, is_async: bool = False
) -> GymWrapper:
    """Three environments in a vector."""
    makers = [(lambda: gymnasium.make(env)) if isinstance(env, str) else env] * 3
    return GymWrapper(vector(makers, mode, is_async), categorical_action_encoding=True)


def seeded_rollout(env: EnvBase, steps: int) -> TensorDictBase:
    """A rollout with fixed actions."""
    env.set_seed(5)
    torch.manual_seed(0)
    return env.rollout(steps, break_when_any_done=False)


class SilentVector(SyncVectorEnv):
    """Starts episodes in the same step, and does not say how the last one ended."""

    def step(self, actions: Any) -> Any:
        """What the class says, less the last observations."""
        *found, info = super().step(actions)
        return (*found, {name: value for name, value in info.items() if "final" not in name})


def test_a_last_observation_that_is_missing_is_said_to_be() -> None:
    """Where an episode ends in mode SAME_STEP and `final_obs` is not there, the error names it and the way out."""
    env = GymWrapper(SilentVector([LengthEnv] * 2, autoreset_mode=AutoresetMode.SAME_STEP))
    with pytest.raises(MissingKeyError, match=r'GymWrapper\(SilentVector\)(.|\n)*no "final_obs"(.|\n)*DISABLED'):
        seeded_rollout(env, 20)


class TestSameStep(EnvConformance):
    """A vector environment that starts the next episode within the step keeps every promise."""

    def make_env(self) -> EnvBase:
        """Three pendulums."""
        return make(AutoresetMode.SAME_STEP, "Pendulum-v1")


class TestNextStep(EnvConformance):
    """A vector environment that starts the next episode within the next step keeps every promise."""

    def make_env(self) -> EnvBase:
        """Three cart poles."""
        return make(AutoresetMode.NEXT_STEP, "CartPole-v1")


class TestProcesses(EnvConformance):
    """A vector environment of worker processes keeps every promise."""

    def make_env(self) -> EnvBase:
        """Three cart poles."""
        return make(AutoresetMode.SAME_STEP, "CartPole-v1", is_async=True)


class TestDisabled(EnvConformance):
    """A vector environment that starts no episodes by itself keeps every promise."""

    def make_env(self) -> EnvBase:
        """Three cart poles."""
        return make(AutoresetMode.DISABLED, "CartPole-v1")


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_the_same_data(mode: AutoresetMode, is_async: bool) -> None:
    """A seeded rollout is that of the looped environments, whichever way and wherever the vector starts episodes."""
    looped = GymEnv("CartPole-v1", num_envs=3, categorical_action_encoding=True)
    expected = seeded_rollout(looped, 80)
    assert int(expected["next", "done"].sum()) > 3
    with make(mode, "CartPole-v1", is_async=is_async) as env:
        assert (seeded_rollout(env, 80) == expected).all()


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_no_phantom_transition(mode: AutoresetMode, is_async: bool) -> None:
    """Each step counts one on within its episode; final observations are those before the reset, roots those after."""
    with make(mode, is_async=is_async) as env:
        rolled = seeded_rollout(env, 30)
    root, following = rolled["where"], rolled["next", "where"]
    assert torch.equal(following[..., 1], root[..., 1] + 1)
    assert torch.equal(following[..., 0], root[..., 0])
    assert torch.equal(rolled["next", "reward"].squeeze(-1), following[..., 1])
    done = rolled["next", "done"].squeeze(-1)[:, :-1]
    assert torch.equal(root[:, 1:][~done], following[:, :-1][~done])
    assert root[:, 1:][done][:, 1].eq(0).all()
    assert torch.equal(root[:, 1:][done][:, 0], root[:, :-1][done][:, 0] + 1)
    assert rolled["next", "truncated"].any()
    assert rolled["next", "terminated"].any()


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_rows_that_are_not_done_can_be_reset(mode: AutoresetMode, is_async: bool) -> None:
    """A reset of rows in the middle of their episodes starts new ones there, and there alone."""
    with make(mode, "CartPole-v1", is_async=is_async) as env:
        check_env_specs(env)
        root = env.step_and_maybe_reset(env.rand_action(env.reset(seed=0)))[1]
        after = env.reset(root.clone().set("_reset", torch.tensor([True, False, False])))
    assert not torch.equal(after["observation"][0], root["observation"][0])
    assert torch.equal(after["observation"][1:], root["observation"][1:])


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rows", [[True, False, False], [True, True, True]])
def test_seeds_hold_from_the_next_reset(mode: AutoresetMode, rows: list[bool], is_async: bool) -> None:
    """A seed set after an episode has ended decides how the next one starts, also where the env started it already."""
    lengths = [2, 2, 2] if all(rows) else [2, 9, 9]
    makers = [partial(gymnasium.make, "CartPole-v1", max_episode_steps=length) for length in lengths]
    with GymWrapper(vector(makers, mode, is_async)) as env:
        root = env.step_and_maybe_reset(env.rand_action(env.reset(seed=0)))[1]
        done = step_mdp(env.step(env.rand_action(root)))
        assert done["done"].squeeze(-1).tolist() == rows
        env.set_seed(11)
        after = env.reset(done.set("_reset", torch.tensor(rows)))
    assert torch.equal(after["observation"][0], GymEnv("CartPole-v1").reset(seed=11)["observation"])


def test_unknown_mode_is_an_error() -> None:
    """A vector environment that does not say how it starts episodes is refused."""
    unknown = SyncVectorEnv([LengthEnv])
    unknown.metadata = {"autoreset_mode": "whenever"}
    with pytest.raises(ValueError, match=r'unknown metadata\["autoreset_mode"\].*found whenever'):
        GymWrapper(unknown)


def test_next_step_without_masked_reset_is_an_error() -> None:
    """A `NEXT_STEP` vector environment whose rows cannot be reset one by one is refused."""
    with pytest.raises(ValueError, match="one by one"):
        GymWrapper(gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="vector_entry_point"))


def test_options_of_single_envs_are_refused() -> None:
    """Frame skipping and frames are not available over a vector environment."""
    with pytest.raises(ValueError, match="not available"):
        GymWrapper(SyncVectorEnv([LengthEnv]), frame_skip=2)


def test_vector_has_no_exact_state() -> None:
    """A vector environment says that its state is out of reach."""
    env = make(AutoresetMode.DISABLED)
    assert not env.has_exact_state
    with pytest.raises(NotImplementedError, match="envs in a VectorEnv"):
        env.get_state()
