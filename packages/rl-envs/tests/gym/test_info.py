"""Tests of `rl_envs.gym.info`, `_info_plan` and `_info_values`: entries of `info` as observations."""

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from tensordict import NonTensorData, TensorDict, TensorDictBase

from rl_envs import BaseInfoDictReader, EnvBase, GymEnv, GymWrapper, check_env_specs, default_info_dict_reader
from rl_envs.gym._backend import Options
from rl_envs.gym._info_plan import InfoEntry, InfoPlan, split_infos
from rl_envs.gym._info_values import as_array
from rl_envs.gym._loop import LoopBackend
from rl_envs.gym._process import ProcessBackend
from rl_envs.parallel._pool import PoolOptions
from rl_envs.testing import EnvConformance
from rl_specs import (
    Binary,
    DTypeError,
    MissingKeyError,
    NestedKey,
    NonTensor,
    ShapeError,
    SpecError,
    TensorSpec,
    Unbounded,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")


class InfoEnv(gymnasium.Env[Any, Any]):
    """Tells its episode and step in `info`, more of it after a step than after a reset; episodes of 2 to 4 steps."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.episode = -1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Draw a length."""
        super().reset(seed=seed)
        self.episode += 1
        self.count, self.length = 0, int(self.np_random.integers(2, 5))
        return np.zeros(1, dtype=np.float32), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Count."""
        self.count += 1
        over = self.count == self.length
        info = {**self._info(), "bonus": 0.5 * self.count}
        return np.full(1, self.count, dtype=np.float32), 1.0, over and self.episode % 2 == 0, over, info

    def _info(self) -> dict[str, Any]:
        return {
            "where": np.array([self.episode, self.count]),
            "nested": {"count": self.count, "name": "inner"},
            "is_first": self.count == 0,
            "name": f"step {self.count}",
            "_secret": 7,
            "action_mask": np.array([1, self.count % 2, 0], dtype=np.int8),
        }


class RestartedEnv(InfoEnv):
    """A seed restarts the number of the episode too."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start to count anew where there is a seed."""
        if seed is not None:
            self.episode = -1
        return super().reset(seed=seed, options=options)


def seeded_rollout(env: EnvBase, steps: int = 30) -> TensorDictBase:
    """A rollout with fixed actions."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        env.set_seed(5)
        return env.rollout(steps, break_when_any_done=False)


def vector(mode: AutoresetMode, is_async: bool, kind: type[InfoEnv] = InfoEnv) -> Any:
    """Three environments in a vector."""
    if is_async:
        return AsyncVectorEnv([kind] * 3, autoreset_mode=mode, context="fork")
    return SyncVectorEnv([kind] * 3, autoreset_mode=mode)


class TestConformance(EnvConformance):
    """Environments with entries from `info` keep every promise."""

    def make_env(self) -> EnvBase:
        """Three of them."""
        return GymWrapper([RestartedEnv() for _ in range(3)], action_mask="action_mask").auto_register_info_dict()


class TestVectorConformance(EnvConformance):
    """So do vectors that start the next episode within a step."""

    def make_env(self) -> EnvBase:
        """Three of them."""
        return GymWrapper(vector(AutoresetMode.SAME_STEP, False, RestartedEnv)).auto_register_info_dict()


def test_all_that_has_tensors_is_registered() -> None:
    """Numbers, flags and arrays become entries, nested ones too; texts and private names do not."""
    env = GymWrapper(InfoEnv())
    assert env.auto_register_info_dict() is env
    check_env_specs(env)
    added = {key: spec for key, spec in env.observation_spec.flat_items() if key != "observation"}
    assert added == {
        "where": Unbounded(shape=(2,), dtype=torch.int64),
        ("nested", "count"): Unbounded(shape=(), dtype=torch.int64),
        "is_first": Unbounded(shape=(), dtype=torch.bool),
        "action_mask": Unbounded(shape=(3,), dtype=torch.int8),
        "bonus": Unbounded(shape=(), dtype=torch.float32),
    }
    assert "_secret" in GymWrapper(InfoEnv()).auto_register_info_dict(ignore_private=False).observation_keys


def test_numbers_by_hand() -> None:
    """Roots have what the reset or the step before them told, `next` what the step told; what is missing is zero."""
    env = GymWrapper(InfoEnv()).auto_register_info_dict()
    rolled = env.rollout(2)
    assert rolled["nested", "count"].tolist() == [0, 1]
    assert rolled["next", "nested", "count"].tolist() == [1, 2]
    assert rolled["bonus"].tolist() == [0.0, 0.5]
    assert rolled["next", "bonus"].tolist() == [0.5, 1.0]
    assert rolled["is_first"].tolist() == [True, False]


def assert_in_step(rolled: TensorDictBase) -> None:
    """Entries of `info` belong to the observations beside them, across ends of episodes."""
    for data in (rolled, rolled["next"]):
        assert torch.equal(data["where"][..., 1], data["observation"][..., 0].long())
        assert torch.equal(data["nested", "count"], data["where"][..., 1])
    assert torch.equal(rolled["next", "bonus"], 0.5 * rolled["next", "observation"][..., 0])
    assert torch.equal(rolled["next", "where"][..., 0], rolled["where"][..., 0])
    done = rolled["next", "done"].squeeze(-1)[..., :-1]
    assert done.any()
    after, before = rolled["where"][..., 1:, :][done], rolled["where"][..., :-1, :][done]
    assert torch.equal(after[:, 0], before[:, 0] + 1)
    assert after[:, 1].eq(0).all()


def test_loops_and_resets() -> None:
    """In a loop each row has its own entries, and a reset of some rows is of those alone."""
    env = GymWrapper([InfoEnv() for _ in range(3)]).auto_register_info_dict()
    check_env_specs(env)
    assert_in_step(seeded_rollout(env))


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_vectors_give_the_data_of_a_loop(mode: AutoresetMode, is_async: bool) -> None:
    """In every autoreset mode the last step of an episode has its own `info`, and the next root that of the reset."""
    integer = Unbounded(shape=(), dtype=torch.int64)
    specs = {
        "where": Unbounded(shape=(2,), dtype=torch.int64),
        ("nested", "count"): integer,
        "bonus": Unbounded(shape=()),
    }
    loop = GymWrapper([InfoEnv() for _ in range(3)], action_mask="action_mask")
    expected = seeded_rollout(loop.set_info_dict_reader(default_info_dict_reader(spec=specs)))
    assert_in_step(expected)
    with GymWrapper(vector(mode, is_async), action_mask="action_mask") as env:
        env.set_info_dict_reader(default_info_dict_reader(spec=specs))
        assert (seeded_rollout(env) == expected).all()
        check_env_specs(env)


def test_processes_give_the_data_of_a_loop() -> None:
    """Entries added to running workers come through shared memory, equal to those of a loop."""
    options = Options(frame_skip=1, from_pixels=False, pixels_only=True, categorical=True)
    fork = PoolOptions("GymEnv", start_method="fork")
    loop = LoopBackend([InfoEnv() for _ in range(3)], options)
    processes = ProcessBackend([InfoEnv] * 3, options, num_processes=2, pool=fork)
    assert [set(info) for info in processes.sample_infos()] == [set(info) for info in loop.sample_infos()]
    plan = InfoPlan([InfoEntry(("nested", "count"), ("nested", "count"), Unbounded(shape=(), dtype=torch.int64))])
    for backend in (loop, processes):
        backend.set_infos(plan)
        backend.set_infos(plan.extended([InfoEntry("bonus", "bonus", Unbounded(shape=(), dtype=torch.float32))]))
        backend.seed([1, 2, 3])
    a, b = loop.reset(None), processes.reset(None)
    for _ in range(6):
        assert set(a) == set(b)
        assert {("nested", "count"), "bonus"} <= set(a)
        assert all(torch.equal(a[key], b[key]) for key in a)
        action = {"action": torch.tensor([0, 1, 2])}
        a, b = loop.step(action), processes.step(action)
    processes.close()


def test_masks_of_actions() -> None:
    """A mask in `info` is a bool entry, at the root for the next action; without one everything is allowed."""
    env = GymWrapper([InfoEnv() for _ in range(2)], action_mask="action_mask")
    assert env.observation_spec["action_mask"] == Binary(shape=(2, 3), dtype=torch.bool)
    root = env.reset()
    assert root["action_mask"].tolist() == [[True, False, False]] * 2
    assert env.rand_step(root)["next", "action_mask"].tolist() == [[True, True, False]] * 2
    with pytest.raises(MissingKeyError, match=r'"action_maks" missing.*Did you mean "action_mask"'):
        GymWrapper(InfoEnv(), action_mask="action_maks").rollout(1)


def test_masks_of_a_registered_env() -> None:
    """Taxi tells which actions change its state; the mask is that of the raw environment."""
    env, raw = GymEnv("Taxi-v4", action_mask="action_mask"), gymnasium.make("Taxi-v4")
    info = raw.reset(seed=3)[1]
    assert env.reset(seed=3)["action_mask"].tolist() == info["action_mask"].astype(bool).tolist()


def test_masks_of_several_actions() -> None:
    """The masks of a `MultiDiscrete` are laid side by side; actions that are not discrete have none."""
    inner = InfoEnv()
    inner.action_space = spaces.MultiDiscrete([2, 3])
    inner._info = lambda: {"allowed": (np.array([1, 0]), np.array([0, 1, 1]))}  # type: ignore[method-assign]
    assert GymWrapper(inner, action_mask="allowed").reset()["action_mask"].tolist() == [True, False, False, True, True]
    inner.action_space = spaces.Box(0, 1, (2,))
    with pytest.raises(SpecError, match="Expected Discrete or MultiDiscrete"):
        GymWrapper(inner, action_mask="allowed")


def test_specs_that_are_given_need_no_step() -> None:
    """With specs for all keys no env is reset to learn them; numbers take the shape and dtype asked for."""
    inner = InfoEnv()
    env = GymWrapper(inner)
    reader = default_info_dict_reader(["bonus"], spec=[Unbounded(shape=(1,), dtype=torch.float64)])
    env.set_info_dict_reader(reader)
    assert inner.episode == -1
    assert env.rollout(2)["next", "bonus"].tolist() == [[0.5], [1.0]]
    assert env.observation_spec["bonus"].dtype is torch.float64


def test_seeds_that_wait_are_not_used_up() -> None:
    """Learning the entries leaves a seed that was set before to the next reset."""
    env = GymEnv("Pendulum-v1")
    env.set_seed(3)
    env.set_info_dict_reader(default_info_dict_reader(spec={"x": Unbounded(shape=())}))
    env.auto_register_info_dict()
    assert torch.equal(env.reset()["observation"], GymEnv("Pendulum-v1").reset(seed=3)["observation"])


class NameReader(BaseInfoDictReader):
    """The length of a text."""

    @property
    def info_spec(self) -> dict[NestedKey, TensorSpec]:
        """One number."""
        return {("text", "length"): Unbounded(shape=(1,), dtype=torch.int64)}

    def __call__(self, info_dict: dict[str, Any], tensordict: TensorDictBase) -> TensorDictBase:
        """Nothing at the first step of an episode."""
        if not info_dict["is_first"]:
            tensordict.set(("text", "length"), torch.tensor([len(info_dict["name"])]))
        return tensordict


def test_readers_of_ones_own() -> None:
    """A reader can make tensors of anything; what it leaves out is zero. Readers add up."""
    for make in (InfoEnv, lambda: [InfoEnv(), InfoEnv()], partial(vector, AutoresetMode.SAME_STEP, False)):
        env = GymWrapper(make()).set_info_dict_reader(NameReader())
        env.set_info_dict_reader(default_info_dict_reader(["bonus"]))
        check_env_specs(env)
        rolled = env.rollout(2)
        assert rolled["text", "length"].reshape(-1, 2)[0].tolist() == [0, 6]
        assert rolled["next", "text", "length"].reshape(-1, 2)[0].tolist() == [6, 6]
        assert "bonus" in rolled.keys()  # noqa: SIM118


class MortalEnv(InfoEnv):
    """Action 1 ends the process."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Count, or not."""
        if action == 1:
            os._exit(3)
        return super().step(action)


class TextReader(BaseInfoDictReader):
    """The text itself."""

    @property
    def info_spec(self) -> dict[NestedKey, TensorSpec]:
        """An object."""
        return {("text", "name"): NonTensor((), example_data="")}

    def __call__(self, info_dict: dict[str, Any], tensordict: TensorDictBase) -> TensorDictBase:
        """As it is."""
        return tensordict.set(("text", "name"), NonTensorData(f"{info_dict['name']} of {info_dict['where'][0]}"))


def test_text_of_loops_and_vectors() -> None:
    """A reader can hand on text; loops and vectors of every mode give the same, resets of rows included."""
    found = []
    for vectors in ([InfoEnv() for _ in range(3)], *(vector(mode, False) for mode in AutoresetMode)):
        env = GymWrapper(vectors).set_info_dict_reader(TextReader())
        rolled = seeded_rollout(env, 9)
        check_env_specs(env)
        found.append([rolled.get((*path, "text", "name")).tolist() for path in ((), ("next",))])
    assert [row[0] for row in found[0][0]] == ["step 0 of 0"] * 3
    assert [row[0] for row in found[0][1]] == ["step 1 of 0"] * 3
    assert all(each == found[0] for each in found)


@pytest.mark.parametrize("restarts", [0, 1])
def test_text_of_processes(restarts: int) -> None:
    """Text of readers comes out of workers as out of a loop."""
    options = Options(frame_skip=1, from_pixels=False, pixels_only=True, categorical=False)
    fork = PoolOptions("GymEnv", start_method="fork", restart_on_failure=restarts)
    loop = LoopBackend([InfoEnv() for _ in range(3)], options)
    processes = ProcessBackend([InfoEnv] * 3, options, num_processes=2, pool=fork)
    found: list[list[Any]] = [[], []]
    for texts, backend in zip(found, (loop, processes), strict=True):
        backend.set_infos(InfoPlan(readers=[TextReader()]))
        backend.seed([1, 2, 3])
        entries = backend.reset(None)
        for step in range(9):
            texts.append((entries["text", "name"].tolist(), entries["observation"].tolist()))
            entries = backend.step({"action": torch.eye(3, dtype=torch.int64)})
            done = entries["done"].flatten()
            rows = (done | (torch.arange(3) == step)).numpy()
            fresh = backend.reset(rows)
            texts.append([fresh["text", "name"][row].data for row in rows.nonzero()[0]])
    processes.close()
    assert found[0] == found[1]


def test_text_of_a_broken_episode() -> None:
    """A worker that is gone is started anew: its episode ends with the text that it had."""
    options = Options(frame_skip=1, from_pixels=False, pixels_only=True, categorical=False)
    fork = PoolOptions("GymEnv", start_method="fork", restart_on_failure=1)
    env = ProcessBackend([MortalEnv, InfoEnv], options, num_processes=2, pool=fork)
    env.set_infos(InfoPlan(readers=[TextReader()]))
    env.seed([2, 0])  # episodes of four steps
    env.reset(None)
    action = torch.eye(3, dtype=torch.int64)
    before = env.step({"action": action[:2]})["text", "name"].tolist()
    entries = env.step({"action": action[1:]})
    assert entries["truncated"].flatten().tolist() == [True, False]
    assert entries["text", "name"].tolist()[0] == before[0]
    fresh = env.reset(np.array([True, False]))
    assert fresh["text", "name"].tolist()[0].startswith("step 0 of")
    env.close()


def test_the_default_reader_alone() -> None:
    """Called by hand it writes what it finds, in the specs given or as it is."""
    data = default_info_dict_reader()({"a": 1, "b": "text", "_c": 2}, TensorDict({}, batch_size=[]))
    assert dict(data.items()) == {"a": torch.tensor(1)}
    reader = default_info_dict_reader(["a", "z"], spec=[Unbounded(shape=(1,)), Unbounded(shape=(2,))])
    assert reader({"a": 1}, TensorDict({}, batch_size=[]))["a"].tolist() == [1.0]
    assert list(reader.info_spec) == ["a", "z"]


@pytest.mark.parametrize(
    ("keys", "error", "match"),
    [
        (["bonis"], MissingKeyError, "Did you mean .*bonus"),
        (["name"], SpecError, "neither a number nor an array of numbers. Found 'step 0'"),
        (["observation"], MissingKeyError, "observation"),
    ],
)
def test_entries_that_cannot_be(keys: Sequence[str], error: type[Exception], match: str) -> None:
    """Names that are not there and values without tensors are errors when the reader is set."""
    with pytest.raises(error, match=match):
        GymWrapper(InfoEnv()).set_info_dict_reader(default_info_dict_reader(keys))


def test_names_that_are_taken() -> None:
    """An entry that is asked for cannot have the name of another; of all entries those are left out."""
    taken = default_info_dict_reader(["observation"], spec=[Unbounded(shape=())])
    with pytest.raises(SpecError, match='info "observation" has the name of another entry'):
        GymWrapper(InfoEnv()).set_info_dict_reader(taken)
    env = GymWrapper(InfoEnv()).auto_register_info_dict()
    names = env.observation_keys
    assert env.auto_register_info_dict().observation_keys == names
    with pytest.raises(SpecError, match="has the name of another entry"):
        env.set_info_dict_reader(default_info_dict_reader(["bonus"]))


def test_values_that_change_their_shape() -> None:
    """A value of another shape than its spec is an error that names both."""
    env = GymWrapper(InfoEnv())
    env.set_info_dict_reader(default_info_dict_reader(["where"], spec=[Unbounded(shape=(3,))]))
    with pytest.raises(ShapeError, match=r'info "where": another shape. Expected \(3,\), found \(2,\)'):
        env.reset()


def test_arguments_are_checked() -> None:
    """What is no reader, and specs that do not match the keys, are refused."""
    with pytest.raises(TypeError, match="no reader"):
        GymWrapper(InfoEnv()).set_info_dict_reader(lambda info, data: data)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="one for each of the 2 keys, found 1"):
        default_info_dict_reader(["a", "b"], spec=[Unbounded(shape=())])
    pool = GymEnv("CartPole-v1", num_envs=2, backend="envpool")
    with pytest.raises(MissingKeyError, match="x_position"):
        pool.set_info_dict_reader(default_info_dict_reader(["x_position"]))


def test_dictionaries_of_a_vector_are_split() -> None:
    """Each row has the values that the vector says it has, at every level."""
    infos = {
        "a": np.array([1, 2]),
        "_a": np.array([True, False]),
        "inner": {"b": np.array([3, 4]), "_b": np.array([False, True])},
        "_inner": np.array([False, True]),
        "all": [5, 6],
        "common": 7,
        "_private": np.array([8, 9]),
    }
    assert split_infos(infos, 2) == [
        {"a": 1, "all": 5, "common": 7, "_private": 8},
        {"inner": {"b": 4}, "all": 6, "common": 7, "_private": 9},
    ]


def test_fractions_are_not_cut_off() -> None:
    """A number that was whole when specs were learned and has a fraction later is an error, not another number."""
    with pytest.raises(DTypeError, match=r"info .score.: a number with a fraction.*default_info_dict_reader"):
        as_array("score", 1.5, Unbounded(shape=(), dtype=torch.int64))
    assert as_array("score", 2.0, Unbounded(shape=(), dtype=torch.int64)) == 2
