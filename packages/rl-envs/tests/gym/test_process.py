"""Tests of `rl_envs.gym._process`."""

import gc
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from rl_envs import ClosedEnvError, GymEnv, GymWrapper, WorkerError
from rl_envs.gym._backend import Backend, Options
from rl_envs.gym._info_plan import InfoEntry, InfoPlan
from rl_envs.gym._loop import LoopBackend
from rl_envs.gym._process import ProcessBackend, portable_maker
from rl_envs.gym.spaces import spec_from_space
from rl_envs.parallel._pool import PoolOptions
from rl_specs import FlatDict, SpecError, Unbounded, join_key

PLAIN = Options(frame_skip=1, from_pixels=False, pixels_only=True, categorical=False)
FORK = PoolOptions("GymEnv", start_method="fork")


class PictureEnv(gymnasium.Env[Any, Any]):
    """Nested observations, several actions, frames; episodes of 4 steps; button 4 ends the process."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012  as Gymnasium declares it
    render_mode = "rgb_array"
    observation_space = gymnasium.spaces.Dict(
        place=gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float64),
        parts=gymnasium.spaces.Tuple((gymnasium.spaces.Discrete(3), gymnasium.spaces.MultiBinary(2))),
    )
    action_space = gymnasium.spaces.Dict(
        push=gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32), button=gymnasium.spaces.Discrete(5)
    )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """A random observation."""
        super().reset(seed=seed)
        self._steps = 0
        return self._observe(), {}

    def step(self, action: dict[str, Any]) -> Any:
        """A random observation; the button 4 ends the process."""
        if action["button"] == 4:  # as a crash in native code would
            os._exit(3)
        self._steps += 1
        return self._observe(), float(action["push"][0]), action["button"] == 0, self._steps == 4, {}

    def render(self) -> Any:
        """A picture that follows from the number of steps."""
        return np.full((3, 5, 3), self._steps, dtype=np.uint8)

    def _observe(self) -> dict[str, Any]:
        random = self.np_random
        place = random.uniform(-1, 1, 2)
        return {"place": place, "parts": (np.int64(random.integers(3)), random.integers(0, 2, 2, dtype=np.int8))}


def actions_of(backend: Backend, count: int) -> list[FlatDict]:
    """Random actions that never press button 4."""
    torch.manual_seed(0)
    spec = spec_from_space(backend.action_space, batch_size=torch.Size((count,)), categorical=False)
    if "button" not in str(backend.action_space):
        return [{"action": spec.rand()} for _ in range(30)]
    button = torch.nn.functional.one_hot(torch.randint(0, 4, (30, count)), 5)
    push = torch.rand(30, count, 1) * 3 - 1.5
    key = partial(join_key, "action")
    return [{key("push"): push[t], key("button"): button[t]} for t in range(30)]


def steps(backend: Backend, count: int) -> list[FlatDict]:
    """Seeded steps; done rows, and the first row once while it is not done, are reset."""
    backend.seed([10 + row for row in range(count)])
    found = [backend.reset(None)]
    for time, action in enumerate(actions_of(backend, count)):
        found.append(backend.step(action))
        rows = found[-1]["done"].numpy().reshape(-1).copy()
        if time == 7:
            backend.seed([99] + [None] * (count - 1))
            rows[0] = True
        if rows.any():
            fresh = backend.reset(rows)
            found.append({key: value[torch.from_numpy(rows)] for key, value in fresh.items()})
    return found


@pytest.mark.parametrize("num_processes", [1, 2, 3])
@pytest.mark.parametrize(
    ("make", "options"),
    [
        (partial(gymnasium.make, "CartPole-v1"), PLAIN),
        (PictureEnv, PLAIN),
        (PictureEnv, Options(frame_skip=2, from_pixels=True, pixels_only=False, categorical=False)),
        (PictureEnv, Options(frame_skip=1, from_pixels=True, pixels_only=True, categorical=False)),
    ],
    ids=["cart pole", "nested", "frames", "frames alone"],
)
def test_data_are_those_of_a_loop(make: Callable[[], Any], options: Options, num_processes: int) -> None:
    """Under a seed the data equal those of a loop bit for bit, resets of rows included, over however many processes."""
    loop = LoopBackend([make() for _ in range(3)], options)
    processes = ProcessBackend([make] * 3, options, num_processes=num_processes, pool=FORK)
    expected, found = steps(loop, 3), steps(processes, 3)
    assert len(expected) == len(found)
    for a, b in zip(expected, found, strict=True):
        assert set(a) == set(b)
        assert all(a[key].dtype is b[key].dtype and torch.equal(a[key], b[key]) for key in a)
    assert any(entries["done"].any() for entries in expected if "done" in entries)
    if options.from_pixels:
        assert torch.equal(loop.frame(), processes.frame())
    processes.close()
    loop.close()


def test_exact_state() -> None:
    """States move between a loop and processes, and both go on alike."""
    make = partial(gymnasium.make, "CartPole-v1")
    loop = LoopBackend([make() for _ in range(3)], PLAIN)
    processes = ProcessBackend([make] * 3, PLAIN, num_processes=2, pool=FORK)
    assert processes.missing_state() is None
    steps(loop, 3)
    processes.reset(None)
    processes.set_states(loop.states())
    action = actions_of(loop, 3)[0]
    a, b = loop.step(action), processes.step(action)
    assert all(torch.equal(a[key], b[key]) for key in a)
    loop.set_states(processes.states())
    assert torch.equal(loop.step(action)["observation"], processes.step(action)["observation"])
    assert (processes.env_id(), processes.envs()) == ("CartPole-v1", [])
    processes.close()


def test_end_of_a_worker() -> None:
    """A worker that ends is named with its exit code; afterwards the backend is closed, and closes again."""
    processes = ProcessBackend([PictureEnv] * 2, PLAIN, num_processes=2, pool=FORK)
    processes.reset(None)
    action = actions_of(processes, 2)[0]
    action[("action", "button")] = torch.nn.functional.one_hot(torch.tensor([1, 4]), 5)
    with pytest.raises(WorkerError, match="GymEnv: worker 1 ended with exit code 3"):
        processes.step(action)
    with pytest.raises(ClosedEnvError):
        processes.reset(None)
    processes.close()
    gc.collect()


def test_other_spaces_are_an_error() -> None:
    """Envs with different spaces in different workers are refused."""
    makers = [partial(gymnasium.make, name) for name in ("CartPole-v1", "Pendulum-v1")]
    with pytest.raises(SpecError, match="worker 1 differ"):
        ProcessBackend(makers, PLAIN, num_processes=2, pool=FORK)


def test_dict_of_actions() -> None:
    """The actions of a `Dict` space are entries under `"action"`, in the specs as in the data."""
    env = GymWrapper(PictureEnv())
    assert env.action_keys == [("action", "push"), ("action", "button")]
    root = env.reset()
    root["action"] = {"push": torch.tensor([0.5]), "button": torch.tensor([0, 1, 0, 0, 0])}
    assert env.step(root)["next", "reward"].item() == 0.5


def test_ids_registered_here_are_known_there() -> None:
    """An id that only this process has registered is registered where the env is made."""
    gymnasium.register("Picture-v0", lambda **options: PictureEnv())
    make = portable_maker("Picture-v0", partial(gymnasium.make, "Picture-v0"))
    del gymnasium.registry["Picture-v0"]
    assert make().spec.id == "Picture-v0"
    assert isinstance(GymEnv("Picture-v0").unwrapped_envs[0].unwrapped, PictureEnv)
    del gymnasium.registry["Picture-v0"]


class FragileEnv(gymnasium.Env[Any, Any]):
    """A random stream; ends its process in the third step of an episode, once for all processes."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (2,), np.float64)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, mark: Path | None) -> None:
        self._fail: Callable[[], None] = lambda: _end_once(mark)  # a function is no part of the state

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """A draw."""
        super().reset(seed=seed)
        self._steps = 0
        return self.np_random.random(2), {"steps": 0}

    def step(self, action: Any) -> Any:
        """A draw."""
        self._steps += 1
        if self._steps == 3:
            self._fail()
        return self.np_random.random(2), 1.0, False, False, {"steps": self._steps}


def _end_once(mark: Path | None) -> None:
    if mark is not None and not mark.exists():
        mark.touch()
        os._exit(5)


STILL: FlatDict = {"action": torch.tensor([[1, 0]] * 3)}


def fragile(mark: Path, restarts: int = 1) -> ProcessBackend:
    """Three of them, the second of which fails."""
    makers = [partial(FragileEnv, mark if row == 1 else None) for row in range(3)]
    pool = PoolOptions("GymEnv", "fork", restart_on_failure=restarts)
    return ProcessBackend(makers, PLAIN, num_processes=3, pool=pool)


def sound() -> LoopBackend:
    """The same without the failure."""
    return LoopBackend([FragileEnv(None) for _ in range(3)], PLAIN)


def test_a_worker_is_started_anew(tmp_path: Path) -> None:
    """The episode of its row ends with the last observation, truncated; the others are what they would have been, and
    the row goes on from the start of the seed that it was given last.
    """
    backend, loop = fragile(tmp_path / "mark"), sound()
    for each in (backend, loop):
        each.seed([10, 11, 12])
    assert torch.equal(backend.reset(None)["observation"], loop.reset(None)["observation"])
    some = np.array([False, True, False])
    for each in (backend, loop):
        each.seed([None, 99, None])
        each.reset(some)
    found, expected = ([each.step(STILL) for _ in range(4)] for each in (backend, loop))
    others = torch.tensor([True, False, True])
    for a, b in zip(found, expected, strict=True):
        assert all(torch.equal(a[key][others], b[key][others]) for key in b)
    assert torch.equal(found[2]["observation"][1], found[1]["observation"][1])
    assert [entries["reward"][1].item() for entries in found] == [1.0, 1.0, 0.0, 1.0]
    for flag, value in (("done", True), ("truncated", True), ("terminated", False)):
        assert found[2][flag].flatten().tolist() == [False, value, False]
        assert not found[3][flag].any()
    stream = np.random.Generator(np.random.PCG64(np.random.SeedSequence(99)))
    stream.random(2)  # of the reset of the new worker
    assert np.array_equal(found[3]["observation"][1].numpy(), stream.random(2))
    backend.close()


def test_a_state_that_was_set_holds_in_a_new_worker(tmp_path: Path) -> None:
    """Its random stream goes on from there, not from an earlier seed; infos are read as before."""
    backend, loop = fragile(tmp_path / "mark"), sound()
    plan = InfoPlan([InfoEntry("steps", "steps", Unbounded(shape=(), dtype=torch.int64))])
    backend.set_infos(plan)
    backend.seed([10, 11, 12])
    backend.reset(None)
    loop.seed([20, 21, 22])
    loop.reset(None)
    states = loop.states()
    backend.set_states(states)
    found = [backend.step(STILL) for _ in range(3)]
    assert [entries["steps"].tolist() for entries in found] == [[1, 1, 1], [2, 2, 2], [3, 2, 3]]
    loop.reset(None)
    assert torch.equal(backend.step(STILL)["observation"][1], loop.step(STILL)["observation"][1])
    backend.close()


def test_a_seed_after_a_state_holds_in_a_new_worker(tmp_path: Path) -> None:
    """What was set last decides how a new worker goes on: a seed that was given after a state, not the state."""
    backend, loop = fragile(tmp_path / "mark"), sound()
    backend.seed([10, 11, 12])
    backend.reset(None)
    loop.seed([20, 21, 22])
    loop.reset(None)
    backend.set_states(loop.states())
    backend.seed([30, 31, 32])
    backend.reset(None)
    for _ in range(3):
        backend.step(STILL)
    loop.seed([30, 31, 32])
    loop.reset(None)
    assert torch.equal(backend.step(STILL)["observation"][1], loop.step(STILL)["observation"][1])
    backend.close()


def test_a_failure_too_many(tmp_path: Path) -> None:
    """After as many restarts as were asked for, the failure is the error; a worker that died idle is noticed too."""
    backend = fragile(tmp_path / "mark")
    backend.reset(None)
    backend._pool._processes.kill(2)
    assert len(backend.states()) == 3
    ended = backend.step(STILL)
    assert ended["truncated"].flatten().tolist() == [False, False, True]
    assert not backend.reset(np.array([False, False, True]))["observation"][2].isnan().any()
    backend._pool._processes.kill(2)
    with pytest.raises(WorkerError, match=r"worker 2 was killed by SIGKILL"):
        list(map(backend.step, [STILL] * 3))


def test_restarts_are_an_option_of_gym_env() -> None:
    """`GymEnv` starts its workers anew, and its rollouts go on; without processes the options are refused."""
    with GymEnv("CartPole-v1", num_envs=2, backend="process", restart_on_failure=1, timeout_s=120.0) as env:
        assert isinstance(env._backend, ProcessBackend)
        root = env.reset(seed=1)
        env._backend._pool._processes.kill(0)
        stepped, root = env.step_and_maybe_reset(env.rand_action(root))
        while not stepped["next", "truncated"].any():  # the worker may have answered before it was killed
            stepped, root = env.step_and_maybe_reset(env.rand_action(root))
        assert torch.equal(stepped["next", "observation"][0], stepped["observation"][0])
        assert not root["done"].any()
    for option in ({"restart_on_failure": 1}, {"timeout_s": 1.0}):
        with pytest.raises(ValueError, match=f'{next(iter(option))} is of no use here(.|\n)*backend="process"'):
            GymEnv("CartPole-v1", num_envs=2, backend="serial", **option)
