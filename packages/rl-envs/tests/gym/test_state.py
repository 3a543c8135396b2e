"""Tests of `rl_envs.gym._state`."""

import io
from collections import Counter, OrderedDict, defaultdict, deque
from enum import Enum, Flag, IntEnum
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensordict import TensorDict, TensorDictBase

from rl_envs import GymEnv, GymWrapper, StateNotSupportedError
from rl_envs.gym._plain import decode, encode, is_plain
from rl_specs import MissingKeyError


def through_a_file(state: dict[str, Any]) -> Any:
    """`state` as `torch.save` writes and `torch.load(weights_only=True)` reads it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def steps(env: GymWrapper, root: TensorDictBase, actions: list[torch.Tensor]) -> TensorDictBase:
    """The steps that these actions make, with resets."""
    taken = []
    for action in actions:
        stepped, root = env.step_and_maybe_reset(root.copy().set("action", action))
        taken.append(stepped.clone())
    batch: TensorDictBase = TensorDict.stack(taken, 0)
    return batch


@pytest.mark.parametrize("num_envs", [None, 2])
@pytest.mark.parametrize("name", ["HalfCheetah-v5", "Ant-v5", "CartPole-v1", "Pendulum-v1", "FrozenLake-v1"])
def test_restored_env_goes_on_bitwise(name: str, num_envs: int | None) -> None:
    """A new environment put into a state in mid-episode goes on bit for bit, across resets and time limits."""
    env = GymEnv(name, num_envs=num_envs, max_episode_steps=30)
    env.set_seed(1)
    root = env.reset()
    for _ in range(10):
        root = env.step_and_maybe_reset(env.rand_action(root))[1]
    state = through_a_file(env.state_dict())
    actions = [env.rand_action()["action"] for _ in range(50)]
    expected = steps(env, root, actions)
    other = GymEnv(name, num_envs=num_envs, max_episode_steps=30)
    other.load_state_dict(state)
    assert (steps(other, root, actions) == expected).all()
    assert expected["next", "done"].any()


def test_pending_seed_travels() -> None:
    """A seed that has been set but not used yet is part of the state."""
    env, other = GymEnv("Pendulum-v1"), GymEnv("Pendulum-v1")
    env.set_seed(9)
    other.load_state_dict(through_a_file(env.state_dict()))
    assert torch.equal(env.reset()["observation"], other.reset()["observation"])


def test_wrappers_travel() -> None:
    """The counters and running statistics of Gymnasium's own wrappers are part of the state."""

    def make() -> GymWrapper:
        inner = gymnasium.wrappers.NormalizeObservation(gymnasium.make("Pendulum-v1"))
        return GymWrapper(gymnasium.wrappers.RecordEpisodeStatistics(inner))

    env, other = make(), make()
    root = env.reset(seed=0)
    for _ in range(5):
        root = env.step_and_maybe_reset(env.rand_action(root))[1]
    other.load_state_dict(through_a_file(env.state_dict()))
    actions = [env.rand_action()["action"] for _ in range(5)]
    assert (steps(env, root, actions) == steps(other, root, actions)).all()


class OpaqueEnv(gymnasium.Env[Any, Any]):
    """Keeps its state where nobody can read it."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 1, (1,))
        self.action_space = spaces.Box(0, 1, (1,))
        self.engine = iter([1, 2, 3])


def test_unreadable_env_says_what_is_unreadable() -> None:
    """An environment with an attribute that is no plain value has no exact state; the error names the attribute."""
    env = GymWrapper(OpaqueEnv())
    assert not env.has_exact_state
    assert env.state_dict() == {}
    with pytest.raises(StateNotSupportedError, match=r"OpaqueEnv\.engine \(list_iterator\)"):
        env.get_state()


class NamelessType(type):
    """Classes that do not say where they were defined, as those that SWIG makes."""

    def __getattribute__(cls, name: str) -> Any:
        """All attributes but that."""
        if name == "__module__":
            raise AttributeError(name)
        return super().__getattribute__(name)


class Nameless(metaclass=NamelessType):
    """An object of native code."""


def test_objects_of_native_code_are_unreadable() -> None:
    """An attribute whose class does not say where it was defined is named like any other."""
    inner = OpaqueEnv()
    inner.engine = Nameless()  # type: ignore[assignment]
    env = GymWrapper(inner)
    assert not env.has_exact_state
    with pytest.raises(StateNotSupportedError, match=r"OpaqueEnv\.engine \(Nameless\)"):
        env.get_state()


def test_state_of_another_env_is_refused() -> None:
    """States of other numbers of environments, other wrappers or other models are errors."""
    state = GymEnv("Pendulum-v1", num_envs=2).get_state()
    with pytest.raises(ValueError, match="another number of envs"):
        GymEnv("Pendulum-v1").set_state(state)
    with pytest.raises(ValueError, match="other parts"):
        GymEnv("CartPole-v1").set_state(GymEnv("Pendulum-v1").get_state())


class Phase(IntEnum):
    """Where a game stands."""

    RUNNING = 1
    DONE = 2


class Colour(Enum):
    """A value that is no number."""

    RED = "red"


class Way(Flag):
    """Values that add up."""

    UP = 1
    LEFT = 2


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        2**100,
        -(2**70),
        1.5,
        "text",
        b"bytes",
        b"",
        np.float32(0.1),
        np.int64(3),
        np.arange(6, dtype=np.int16).reshape(2, 3),
        np.array([[b"S", b"F"]], dtype="S1"),
        np.zeros((0, 3)),
        [1, [2, "a"]],
        (1, (2.0, None)),
        {1, 2},
        {0: {"a": (1, np.float64(2.0))}, "b": []},
        deque([1, 2], maxlen=2),
        OrderedDict(b=1, a=2),
        Counter("aab"),
        defaultdict(int, {3: 1}),
        defaultdict(None, {3: 1}),
        Phase.DONE,
        Colour.RED,
        {Phase.DONE: [Colour.RED, Way.UP | Way.LEFT]},
    ],
)
def test_plain_values_there_and_back(value: Any) -> None:
    """Plain values survive encoding, a file, and decoding, with their types."""
    assert is_plain(value)
    back = decode(through_a_file(encode(value)))
    assert type(back) is type(value)
    assert repr(back) == repr(value)


class Count(int):
    """A number with a class of its own."""


def hidden() -> Enum:
    """A member of an enum that no module shows."""

    class Hidden(Enum):
        A = 1

    return Hidden.A


@pytest.mark.parametrize(
    "value", [defaultdict(lambda: 3), defaultdict(Count), Count(3), hidden(), [hidden()], {"a": Count(1)}]
)
def test_what_would_come_back_as_something_else_is_not_plain(value: Any) -> None:
    """A default that is a function, a number of another class and an enum that no module shows are out of reach."""
    assert not is_plain(value)
    with pytest.raises(TypeError, match="plain value"):
        encode(value)


def test_a_default_goes_on_counting() -> None:
    """A `defaultdict` that came back makes its default values."""
    back = decode(through_a_file(encode(defaultdict(list, {1: [2]}))))
    back[5].append(6)
    assert back == {1: [2], 5: [6]}


def test_an_enum_that_is_not_there() -> None:
    """A state with an enum whose module has not been imported says so."""
    encoded = encode(Phase.DONE) | {"module": "not_imported"}
    with pytest.raises(ValueError, match=r"no enum not_imported\.Phase. Import its module"):
        decode(encoded)


def test_generators_go_on() -> None:
    """A numpy generator, decoded, draws what the encoded one draws next."""
    generator = np.random.default_rng(3)
    generator.random(5)
    back = decode(through_a_file(encode(generator)))
    assert np.array_equal(generator.random(4), back.random(4))
    assert not is_plain(object())
    with pytest.raises(TypeError, match="plain value"):
        encode(object())


def test_a_part_of_a_state_is_refused() -> None:
    """A state without its pending seeds changes nothing and names what is missing."""
    env = GymEnv("CartPole-v1")
    env.set_seed(0)
    env.reset()
    state = env.get_state()
    with pytest.raises(MissingKeyError, match=r'GymEnv.set_state: key "pending".*whole'):
        env.set_state({"envs": GymEnv("CartPole-v1").get_state()["envs"]})
    assert repr(env.get_state()) == repr(state)
