"""Tests of `rl_envs.gym._process`."""

import gc
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from rl_envs import ClosedEnvError, GymEnv, GymWrapper, WorkerError
from rl_envs.gym._backend import Backend, Options
from rl_envs.gym._loop import LoopBackend
from rl_envs.gym._process import ProcessBackend, portable_maker
from rl_envs.gym.spaces import spec_from_space
from rl_envs.parallel._pool import PoolOptions
from rl_specs import FlatDict, SpecError, join_key

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
