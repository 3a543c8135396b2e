"""Environments whose observations and actions are of every space, run by every backend."""

from functools import partial
from typing import Any

import gymnasium
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tensordict import TensorDictBase

from rl_envs import EnvBase, GymWrapper, check_env_specs, decode_text
from rl_envs.gym._backend import Backend, Options
from rl_envs.gym._limits import SpaceLimits
from rl_envs.gym._loop import LoopBackend
from rl_envs.gym._process import ProcessBackend
from rl_envs.gym.spaces import SpaceSpecs
from rl_envs.parallel._pool import PoolOptions
from rl_envs.testing import EnvConformance
from rl_specs import Composite, FlatDict

LIMITS: dict[str, Any] = {"max_sequence_length": 40, "max_graph_nodes": 10, "max_graph_edges": 90}
_BOX, _DISCRETE = spaces.Box(-1.0, 1.0, (2,)), spaces.Discrete(3, start=1)
SPACES: dict[str, spaces.Space[Any]] = {
    "text": spaces.Text(6, charset="abc "),
    "sequence": spaces.Sequence(spaces.Dict({"box": _BOX, "kind": _DISCRETE})),
    "stacked sequence": spaces.Sequence(_BOX, stack=True),
    "graph": spaces.Graph(_BOX, _DISCRETE),
    "graph without edges": spaces.Graph(_DISCRETE, None),
    "alternatives": spaces.OneOf([_BOX, _DISCRETE, spaces.Text(3)]),
    "tuple": spaces.Tuple([_BOX, spaces.Text(3), spaces.Sequence(spaces.Text(2))]),
    "dict": spaces.Dict({"box": _BOX, "graph": spaces.Graph(_BOX, _BOX), "bits": spaces.MultiBinary(2)}),
}
SPACES["everything"] = spaces.Dict(SPACES)


class SpaceEnv(gymnasium.Env[Any, Any]):
    """Observes random values of a space and takes them as actions; episodes of 4 or 5 steps."""

    def __init__(self, kind: str) -> None:
        self.observation_space = self.action_space = SPACES[kind]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A random value."""
        super().reset(seed=seed)
        self.count, self.length = 0, int(self.np_random.integers(4, 6))
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Another one; an action that is not in the space is an error."""
        assert self.action_space.contains(action), action
        self.count += 1
        return self._observe(), float(self.count), self.count == self.length, False, {}

    def _observe(self) -> Any:
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample()


class TestTextConformance(EnvConformance):
    """Environments with texts, sequences, graphs and alternatives keep every promise."""

    kind = "tuple"

    def make_env(self) -> EnvBase:
        """Three of them in a loop."""
        return GymWrapper([SpaceEnv(self.kind) for _ in range(3)], **LIMITS)


class TestGraphConformance(TestTextConformance):
    """The same with a graph inside a `Dict`."""

    kind = "dict"


class TestSequenceConformance(TestTextConformance):
    """The same with a sequence alone."""

    kind = "sequence"


def seeded_rollout(env: EnvBase) -> TensorDictBase:
    """A rollout with fixed actions."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        env.set_seed(5)
        return env.rollout(20, break_when_any_done=False)


@pytest.mark.parametrize("kind", SPACES)
def test_one_env(kind: str) -> None:
    """One environment returns what its specs say, and takes whatever is drawn from its action spec."""
    env = GymWrapper(SpaceEnv(kind), **LIMITS)
    check_env_specs(env)
    assert seeded_rollout(env)["next", "done"].any()


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("kind", SPACES)
def test_vectors_give_the_data_of_a_loop(kind: str, mode: AutoresetMode) -> None:
    """The data of a loop and of a vector are equal, resets included."""
    loop = seeded_rollout(GymWrapper([SpaceEnv(kind) for _ in range(3)], **LIMITS))
    vector = SyncVectorEnv([partial(SpaceEnv, kind)] * 3, autoreset_mode=mode)
    with GymWrapper(vector, **LIMITS) as env:
        assert (seeded_rollout(env) == loop).all()
    assert loop["next", "done"].any()


def backend_rollout(backend: Backend) -> list[FlatDict]:
    """Seeded steps of three environments that take every space at once."""
    specs = SpaceSpecs(device=None, categorical=False, limits=SpaceLimits(**LIMITS))
    spec = Composite({"action": specs.of(backend.action_space, (3,))}, shape=(3,))
    generator = torch.Generator().manual_seed(0)
    backend.seed([1, 2, 3])
    found = [backend.reset(None)]
    for _ in range(8):
        found.append(backend.step({key: leaf.rand(generator=generator) for key, leaf in spec.flat_items()}))
        rows = found[-1]["done"].numpy().reshape(-1)
        if rows.any():
            fresh = backend.reset(rows)
            found.append({key: value[torch.from_numpy(rows)] for key, value in fresh.items()})
    return found


def test_processes_give_the_data_of_a_loop() -> None:
    """Texts, sequences, graphs and alternatives travel through shared memory."""
    options = Options(
        frame_skip=1, from_pixels=False, pixels_only=True, categorical=False, limits=SpaceLimits(**LIMITS)
    )
    loop = LoopBackend([SpaceEnv("everything") for _ in range(3)], options)
    fork = PoolOptions("GymEnv", start_method="fork")
    spread = ProcessBackend([partial(SpaceEnv, "everything")] * 3, options, num_processes=2, pool=fork)
    expected, found = backend_rollout(loop), backend_rollout(spread)
    spread.close()
    for a, b in zip(expected, found, strict=True):
        assert set(a) == set(b)
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_texts_can_be_read() -> None:
    """`decode_text` gives the texts of a rollout back, with the space that the environment shows."""
    env = GymWrapper([SpaceEnv("text") for _ in range(2)])
    texts = decode_text(seeded_rollout(env)["observation"], env.observation_space)
    assert texts.shape == (2, 20)
    assert all(SPACES["text"].contains(text) for text in texts.flat)
