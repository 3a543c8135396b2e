"""Tests of `rl_envs.gym._vector_kind`, and of vectors of one's own in every autoreset mode."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space
from tensordict import TensorDictBase

from rl_envs import EnvBase, GymWrapper, check_env_specs, default_info_dict_reader
from rl_envs.gym._vector_kind import vector_kind
from rl_envs.testing import EnvConformance
from rl_specs import Unbounded

COUNT = 4
READER = {"step": Unbounded(shape=(), dtype=torch.int64), "bonus": Unbounded(shape=(), dtype=torch.float32)}


class Steps(VectorEnv[Any, Any, Any]):
    """A vector of one's own, all in arrays: rows count their steps and end after 2 to 5 of them.

    Args:
        mode: when the next episode starts.
        takes_mask: whether it says that it takes a mask in mode `SAME_STEP` or `NEXT_STEP`.
    """

    def __init__(self, mode: AutoresetMode, *, takes_mask: bool) -> None:
        self.metadata = {"autoreset_mode": mode, "reset_mask": takes_mask}
        self.mode = mode
        self.takes_mask = takes_mask or mode is AutoresetMode.DISABLED
        self.num_envs = COUNT
        where = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.single_observation_space = spaces.Dict({"where": where, "parity": spaces.Discrete(2)})
        self.single_action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, COUNT)
        self.action_space = batch_space(self.single_action_space, COUNT)
        self.episode, self.count = np.full(COUNT, -1), np.zeros(COUNT, dtype=np.int64)
        self.place, self.over = np.zeros(COUNT), np.zeros(COUNT, dtype=np.bool_)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """All rows, or those of the mask; one seed for all."""
        assert seed is None or isinstance(seed, int)
        rows = np.ones(COUNT, dtype=np.bool_)
        if options is not None:
            assert self.takes_mask
            rows = options["reset_mask"]
        if seed is not None:
            self.offset = seed % 97
            self.episode[:] = -1
        self._start(rows)
        return self._observe(), {"step": self.count.copy(), "_step": rows.copy()}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One step of all rows; in mode `NEXT_STEP` those that are done start anew and ignore their action."""
        starting = self.over if self.mode is AutoresetMode.NEXT_STEP else np.zeros(COUNT, dtype=np.bool_)
        assert self.mode is not AutoresetMode.DISABLED or not self.over.any()
        self.count += 1
        self.place += actions[:, 0]
        self._start(starting)
        self.over = (self.count >= self._lengths()) & ~starting
        even = self.episode % 2 == 0
        terminated, truncated, over = self.over & even, self.over & ~even, self.over.copy()
        reward = self.place.copy()
        everyone = np.ones(COUNT, dtype=np.bool_)
        info: dict[str, Any] = {
            "step": self.count.copy(),
            "_step": everyone,
            "bonus": self.count * 0.5,
            "_bonus": everyone.copy(),
        }
        if self.mode is AutoresetMode.SAME_STEP and over.any():
            final_info = {name: value.copy() for name, value in info.items()}
            final = np.full(COUNT, None, dtype=object)
            observed = self._observe()
            for row in over.nonzero()[0]:
                final[row] = {name: value[row].copy() for name, value in observed.items()}
            self._start(over)
            info |= {"step": self.count.copy(), "bonus": np.where(over, 0.0, info["bonus"]), "_bonus": ~over}
            info |= {"final_obs": final, "_final_obs": over, "final_info": final_info, "_final_info": over}
        return self._observe(), reward, terminated, truncated, info

    def _start(self, rows: Any) -> None:
        self.episode[rows] += 1
        self.count[rows] = 0
        self.place[rows] = self.offset
        self.over[rows] = False

    def _lengths(self) -> Any:
        return 2 + (self.episode * 3 + np.arange(COUNT) + self.offset) % 4

    offset = 0

    def _observe(self) -> dict[str, Any]:
        where = np.stack([self.place, self.episode * 100.0 + self.count], -1)
        return {"where": where, "parity": self.count % 2}


def make(mode: AutoresetMode, *, takes_mask: bool = True) -> GymWrapper:
    """A wrapped vector with entries from `info`."""
    env = GymWrapper(Steps(mode, takes_mask=takes_mask), categorical_action_encoding=True)
    return env.set_info_dict_reader(default_info_dict_reader(spec=READER))


class TestSameStep(EnvConformance):
    """A vector of one's own that starts the next episode within the last step keeps every promise."""

    mode = AutoresetMode.SAME_STEP

    def make_env(self) -> EnvBase:
        """Four rows."""
        return make(self.mode)


class TestNextStep(TestSameStep):
    """So does one that starts it in the next step."""

    mode = AutoresetMode.NEXT_STEP


class TestDisabled(TestSameStep):
    """So does one that starts none."""

    mode = AutoresetMode.DISABLED


def seeded_rollout(env: EnvBase, steps: int) -> TensorDictBase:
    """A rollout with fixed actions."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        env.set_seed(5)
        return env.rollout(steps, break_when_any_done=False)


@pytest.mark.parametrize("takes_mask", [False, True])
@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_every_mode_gives_the_same_data(mode: AutoresetMode, takes_mask: bool) -> None:
    """Rollouts of a vector of one's own are equal in all modes, `Dict` observations and `info` entries included."""
    if mode is AutoresetMode.NEXT_STEP and not takes_mask:
        with pytest.raises(ValueError, match=r'one by one.*SAME_STEP.*metadata\["reset_mask"\]'):
            make(mode, takes_mask=False)
        return
    expected = seeded_rollout(make(AutoresetMode.DISABLED), 40)
    found = seeded_rollout(make(mode, takes_mask=takes_mask), 40)
    assert int(expected["next", "done"].sum()) > 20
    assert (found == expected).all()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_no_phantom_transition(mode: AutoresetMode) -> None:
    """Every step is one of an episode and heeds its action; `info` entries are of the observation beside them."""
    rolled = seeded_rollout(make(mode), 40)
    before, after = rolled["where"][..., 1], rolled["next", "where"][..., 1]
    assert torch.equal(after, before + 1)
    pushed = rolled["next", "where"][..., 0] - rolled["where"][..., 0]
    assert torch.allclose(pushed, rolled["action"][..., 0].double(), atol=1e-6)
    for data in (rolled, rolled["next"]):
        assert torch.equal(data["step"], data["where"][..., 1].long() % 100)
        assert torch.equal(data["parity"], data["step"] % 2)
    assert torch.equal(rolled["next", "bonus"], rolled["next", "step"] * 0.5)
    assert torch.equal(rolled["bonus"], rolled["step"] * 0.5)
    done = rolled["next", "done"].squeeze(-1)[:, :-1]
    assert torch.equal(rolled["step"][:, 1:] == 0, done)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_rows_in_mid_episode_can_be_reset(mode: AutoresetMode) -> None:
    """A reset of some rows leaves the others bit for bit, also right after some have ended."""
    env = make(mode)
    check_env_specs(env)
    root: TensorDictBase = env.reset(seed=5)
    for _ in range(6):
        stepped = env.step(env.rand_action(root))
        done = stepped["next", "done"]
        mask = done.clone()
        mask[1] = True
        before = stepped["next"].exclude("reward")
        root = env.reset(before.clone().set("_reset", mask))
        rows = mask.squeeze(-1)
        assert (root[~rows] == before[~rows]).all()
        assert root["step"][rows].eq(0).all()


def test_a_vector_without_masks_refuses_partial_resets() -> None:
    """Rows that are not done cannot be started in a `SAME_STEP` vector that takes no mask; nothing is reset then."""
    env = make(AutoresetMode.SAME_STEP, takes_mask=False)
    root = env.step_and_maybe_reset(env.rand_action(env.reset(seed=5)))[1]
    with pytest.raises(ValueError, match=r"GymWrapper\(Steps\): rows that are not done cannot be reset one by one"):
        env.reset(root.clone().set("_reset", torch.tensor([True, False, False, False])))
    assert env.step(env.rand_action(root))["next", "step"].eq(2).all()


def test_kinds() -> None:
    """Gymnasium's own vectors take masks and a seed for each row; others say what they take."""

    def kind(env: Any) -> tuple[bool, bool, bool]:
        found = vector_kind(env)
        return found.is_same_step, found.takes_reset_mask, found.takes_seeds_of_rows

    makers = [lambda: gymnasium.make("CartPole-v1")]
    assert kind(SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)) == (True, True, True)
    assert kind(SyncVectorEnv(makers)) == (False, True, True)
    assert kind(Steps(AutoresetMode.DISABLED, takes_mask=False)) == (False, True, False)
    assert kind(Steps(AutoresetMode.SAME_STEP, takes_mask=False)) == (True, False, False)
    assert kind(Steps(AutoresetMode.NEXT_STEP, takes_mask=True)) == (False, True, False)
