"""Lost lives."""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDict

from rl_envs import EndOfLifeTransform, GymWrapper, RewardSum, SerialEnv, TransformedEnv, check_env_specs
from rl_specs import MissingKeyError, SpecError


class Counter:
    """Where a game keeps its lives."""

    def __init__(self) -> None:
        self.left = 3

    def lives(self) -> int:
        """The number."""
        return self.left


class Game(gymnasium.Env[Any, Any]):
    """Loses a life every `every` steps, and ends with the last of three."""

    def __init__(self, every: int = 2) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self.ale = Counter()
        self.every = every
        self.time = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """All lives."""
        super().reset(seed=seed)
        self.time, self.ale.left = 0, 3
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        """One step nearer to the end."""
        self.time += 1
        self.ale.left = 3 - self.time // self.every
        return np.full(1, self.time, np.float32), 1.0, self.ale.left == 0, False, {}

    @property
    def left(self) -> int:
        """The number, not to be called."""
        return self.ale.left


def test_a_lost_life_is_an_end_for_values() -> None:
    """Every second step costs a life and raises the flag; the episode goes on until the last one."""
    env = TransformedEnv(GymWrapper(Game()), [EndOfLifeTransform(), RewardSum()])
    check_env_specs(env)
    data = env.rollout(8, break_when_any_done=False)
    assert data["next", "end-of-life"].flatten().int().tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    assert data["next", "lives"].flatten().tolist() == [3, 2, 2, 1, 1, 0, 3, 2]
    assert data["next", "done"].flatten().int().tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    assert data["lives"].flatten().tolist() == [3, 3, 2, 2, 1, 1, 3, 3]
    assert not data["end-of-life"][0].item()


def _game(every: int) -> GymWrapper:
    return GymWrapper(Game(every))


@pytest.mark.parametrize("kind", ["loop", "serial", "inside"])
def test_rows(kind: str) -> None:
    """Each row has its own lives, in a loop of Gymnasium environments and in a row of environments."""
    if kind == "loop":
        env = TransformedEnv(GymWrapper([Game(1), Game(2)]), EndOfLifeTransform())
    elif kind == "serial":
        env = TransformedEnv(SerialEnv(2, [partial(_game, 1), partial(_game, 2)]), EndOfLifeTransform())
    else:
        makers = [partial(_transformed, every) for every in (1, 2)]
        env = TransformedEnv(SerialEnv(2, makers), RewardSum())
    check_env_specs(env)
    data = env.rollout(4, break_when_any_done=False)
    assert data["next", "lives"].squeeze(-1).tolist() == [[2, 1, 0, 2], [3, 2, 2, 1]]
    assert data["next", "end-of-life"].squeeze(-1).int().tolist() == [[1, 1, 1, 1], [0, 1, 0, 1]]
    assert data["lives"].squeeze(-1).tolist() == [[3, 2, 1, 3], [3, 3, 2, 2]]


def _transformed(every: int) -> TransformedEnv:
    return TransformedEnv(_game(every), EndOfLifeTransform())


def test_other_places_and_names(toy: Any) -> None:
    """Lives may be a value or an attribute of another environment, with one number per row, under other names."""
    transform = EndOfLifeTransform("lost", ("n", "left"), eol_attribute="unwrapped.left")
    env = TransformedEnv(GymWrapper(Game()), transform)
    check_env_specs(env)
    assert env.rollout(2)["next", "lost"].flatten().int().tolist() == [0, 1]
    rows = TransformedEnv(toy((2, 2), horizon=2), EndOfLifeTransform(eol_attribute="t"))
    check_env_specs(rows)
    data = rows.rollout(2, break_when_any_done=False)
    assert data["next", "lives"][1, 0].flatten().tolist() == [1, 2]
    assert data["next", "end-of-life"][:, :, 1].flatten().int().tolist() == [1, 0, 0, 0]  # done, though no life is lost


def test_bad_use(toy: Any) -> None:
    """A place without lives, environments out of reach, a wrong flag, a root without lives and stored data are told."""
    with pytest.raises(SpecError, match=r"ToyEnv has no unwrapped\.ale\.lives"):
        TransformedEnv(toy(), EndOfLifeTransform())
    vector = gymnasium.vector.SyncVectorEnv([Game])
    with pytest.raises(SpecError, match="cannot be read"):
        TransformedEnv(GymWrapper(vector), EndOfLifeTransform())
    with pytest.raises(SpecError, match="doen"):
        TransformedEnv(GymWrapper(Game()), EndOfLifeTransform(done_key="doen"))
    env = TransformedEnv(GymWrapper(Game()), EndOfLifeTransform())
    with pytest.raises(MissingKeyError, match="lives"):
        env.step(env.rand_action(env.reset().exclude("lives")))
    with pytest.raises(NotImplementedError, match="Append it to a TransformedEnv"):
        EndOfLifeTransform()(TensorDict({"reward": torch.zeros(1)}))
