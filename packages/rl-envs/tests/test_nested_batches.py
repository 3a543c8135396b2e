"""Batches of environments that are batches themselves, and that end their episodes each in their own way."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tensordict import TensorDictBase

from rl_envs import (
    AsyncEnvPool,
    EnvBase,
    GymEnv,
    GymWrapper,
    ParallelEnv,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    check_env_specs,
)

ROWS, STEPS = 4, 30


class LengthEnv(gymnasium.Env[Any, Any]):
    """Counts, with a random start, to a random length of 2 to 5 steps; ends some episodes by truncation."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Draw a start and a length."""
        super().reset(seed=seed)
        self.count, self.length = 0, int(self.np_random.integers(2, 6))
        self.start = self.np_random.uniform()
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Count."""
        self.count += 1
        over = self.count == self.length
        return self._observe(), float(action[0]), over and self.length % 2 == 0, over and self.length % 2 == 1, {}

    def _observe(self) -> Any:
        return np.array([self.start, self.count])


def vector(mode: AutoresetMode) -> EnvBase:
    """Four of them in a vector."""
    return GymWrapper(SyncVectorEnv([LengthEnv] * ROWS, autoreset_mode=mode))


def loop() -> EnvBase:
    """Four of them in a loop."""
    return GymWrapper([LengthEnv() for _ in range(ROWS)])


MAKERS = [partial(vector, mode) for mode in AutoresetMode] + [loop]
Runner = Callable[[list[Callable[[], EnvBase]]], EnvBase]
RUNNERS: dict[str, Runner] = {
    "serial": lambda makers: SerialEnv(len(makers), makers),
    "processes": lambda makers: ParallelEnv(len(makers), makers, num_processes=3, start_method="fork"),
    "restarts": lambda makers: ParallelEnv(len(makers), makers, start_method="fork", restart_on_failure=1),
    "asynchronous": lambda makers: AsyncEnvPool(
        makers, backend="multiprocessing", num_processes=2, start_method="fork"
    ),
    "threads": lambda makers: AsyncEnvPool(makers, backend="threading"),
}


def seeded_rollout(env: EnvBase, steps: int = STEPS) -> TensorDictBase:
    """Random actions, across resets."""
    torch.manual_seed(0)
    env.set_seed(5)
    return env.rollout(steps, break_when_any_done=False)


@pytest.mark.parametrize("runner", RUNNERS)
def test_members_that_restart_in_different_ways(runner: str) -> None:
    """Vectors of every autoreset mode and a loop side by side: each row is what a loop of all of them gives, with no
    step in excess, whatever restarts its episodes.
    """
    env = RUNNERS[runner](list(MAKERS))
    assert env.batch_size == (len(MAKERS), ROWS)
    check_env_specs(env)
    found = seeded_rollout(env)
    env.close()
    expected = seeded_rollout(RUNNERS["serial"]([loop] * len(MAKERS)))
    assert (found == expected).all()
    ends = found["next", "done"].squeeze(-1)
    assert ends.any(-1).all()
    starts = found["observation"][..., 1:, 1][ends[..., :-1]]
    assert (starts == 0).all()
    assert (found["next", "observation"][..., 1][ends] >= 2).all()


@pytest.mark.parametrize("runner", RUNNERS)
def test_resets_of_some_rows(runner: str) -> None:
    """A reset of some inner rows of some members leaves all others bit for bit what they were, in every mode."""
    makers: list[Callable[[], EnvBase]] = [loop, partial(vector, AutoresetMode.DISABLED), loop]
    env = RUNNERS[runner](makers)
    env.set_seed(2)
    root = env.step_mdp(env.rand_step(env.reset()))
    mask = torch.zeros(3, ROWS, 1, dtype=torch.bool)
    mask[0, 1] = mask[1, 0] = mask[1, 3] = True
    fresh = env.reset(root.clone().set("_reset", mask))
    rows = mask.squeeze(-1)
    assert torch.equal(fresh["observation"][~rows], root["observation"][~rows])
    assert (fresh["observation"][rows][:, 1] == 0).all()
    assert (fresh["observation"][rows][:, 0] != root["observation"][rows][:, 0]).all()
    following = env.rand_step(fresh)["next", "observation"]
    assert torch.equal(following[..., 1], torch.where(rows, 1.0, 2.0).double())
    env.close()


def test_transforms_inside_and_outside_of_members() -> None:
    """Counters and sums of members, and around all of them, follow the inner rows."""

    def member(make: Callable[[], EnvBase]) -> EnvBase:
        return TransformedEnv(make(), StepCounter())

    env = TransformedEnv(SerialEnv(4, [partial(member, make) for make in MAKERS]), RewardSum())
    data = seeded_rollout(env)
    assert torch.equal(data["next", "step_count"].squeeze(-1), data["next", "observation"][..., 1].long())
    sums, rewards, ends = (data["next", key].squeeze(-1) for key in ("episode_reward", "reward", "done"))
    before = torch.cat([torch.zeros(4, ROWS, 1), torch.where(ends, 0.0, sums)[..., :-1]], -1)
    assert torch.allclose(sums, before + rewards)


@pytest.mark.parametrize("backend", ["serial", "process"])
def test_gym_env_of_several(backend: Any) -> None:
    """The rows of a `SerialEnv` of `GymEnv(num_envs=4)` start as those of one `GymEnv` of all of them."""
    processes = 2 if backend == "process" else None
    with SerialEnv(2, lambda: GymEnv("CartPole-v1", num_envs=ROWS, backend=backend, num_processes=processes)) as env:
        check_env_specs(env)
        found = seeded_rollout(env)
    with GymEnv("CartPole-v1", num_envs=2 * ROWS, backend="serial") as flat:
        expected = seeded_rollout(flat)
    assert found.batch_size == (2, ROWS, STEPS)
    firsts = found["observation"][:, :, 0].reshape(2 * ROWS, -1)
    assert torch.equal(firsts, expected["observation"][:, 0])
    assert len(firsts.unique(dim=0)) == 2 * ROWS
