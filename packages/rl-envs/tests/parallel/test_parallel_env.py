"""Tests of `rl_envs.parallel.parallel_env`."""

import random
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDictBase

from rl_envs import (
    DoubleToFloat,
    EnvBase,
    GymEnv,
    GymWrapper,
    ParallelEnv,
    PendulumEnv,
    RewardSum,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    VecNorm,
)
from rl_envs._flat import unpack_flat
from rl_envs._many_envs import make_envs
from rl_envs.testing import CountingEnv, EnvConformance, TensorDictCountingEnv
from rl_specs import FlatDict, MissingKeyError, ShapeError, SpecError, TensorMap, Unbounded


class TestOfSingles(EnvConformance):
    """Single Gymnasium environments in processes keep every promise."""

    def make_env(self) -> EnvBase:
        """Three cart poles."""
        return ParallelEnv(3, lambda: GymEnv("CartPole-v1"), start_method="fork")


class TestOfBatches(EnvConformance):
    """Batched environments in processes, two in one of them, keep every promise."""

    def make_env(self) -> EnvBase:
        """Three pairs, nested keys, episodes of different lengths."""
        make = lambda: CountingEnv((2,), max_steps=[2, 3], prefix=("agents",))  # noqa: E731
        return ParallelEnv(3, make, num_processes=2, start_method="fork")


class TestOfTensorDictEnvs(EnvConformance):
    """Environments that take TensorDicts, and read their last observation there, keep every promise in processes."""

    def make_env(self) -> EnvBase:
        """Two of them."""
        return ParallelEnv(2, TensorDictCountingEnv, start_method="fork")


class LatePoll:
    """Sees the last worker's word, and says that time was up before it came."""

    def __init__(self, poll: Any) -> None:
        self._poll = poll
        self.calls = 0

    def poll(self, limit_ms: float | None) -> list[tuple[int, int]]:
        """Nothing, the first time."""
        self.calls += 1
        found: list[tuple[int, int]] = self._poll.poll(limit_ms)
        return [] if self.calls == 1 else found


@pytest.mark.parametrize("restarts", [0, 1])
def test_workers_that_finish_with_the_limit_are_not_late(restarts: int) -> None:
    """Where all of them finish while the limit runs out, the step counts, and so do those after it."""
    with ParallelEnv(2, CountingEnv, start_method="fork", timeout_s=5.0, restart_on_failure=restarts) as env:
        root: TensorDictBase = env.reset()
        late = LatePoll(env._pool._wake_up)
        env._pool._wake_up = late  # type: ignore[assignment]  # has all that is asked of it
        for count in (1.0, 2.0, 3.0):
            stepped, root = env.step_and_maybe_reset(root.set("action", torch.zeros(2, 1)))
            assert stepped["next", "observation"].flatten().tolist() == [count, count]
        assert late.calls == 4


class DictSpaceEnv(gymnasium.Env[dict[str, Any], np.int64]):
    """A `Dict` observation with an image and a discrete value; episodes of 3 steps."""

    observation_space = gymnasium.spaces.Dict(
        image=gymnasium.spaces.Box(0, 255, (4, 5, 3), np.uint8), digit=gymnasium.spaces.Discrete(3, start=1)
    )
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """A random observation."""
        super().reset(seed=seed)
        self._steps = 0
        return self._observe(0), {}

    def step(self, action: np.int64) -> Any:
        """A random observation that depends on the action."""
        self._steps += 1
        return self._observe(int(action)), float(action), False, self._steps == 3, {}

    def _observe(self, action: int) -> dict[str, Any]:
        image = self.np_random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        return {"image": image, "digit": np.int64(1 + (int(image[0, 0, 0]) + action) % 3)}


def transformed_cheetah() -> EnvBase:
    """Transforms that carry entries from step to step, and cut episodes."""
    transforms = [RewardSum(), StepCounter(max_steps=7), DoubleToFloat(), VecNorm(["observation"])]
    return TransformedEnv(GymEnv("HalfCheetah-v5"), transforms)


MAKERS: dict[str, Callable[[], EnvBase]] = {
    "one-hot actions": lambda: GymEnv("CartPole-v1"),
    "dict space": lambda: GymWrapper(DictSpaceEnv()),
    "transforms": transformed_cheetah,
    "batched": lambda: TransformedEnv(PendulumEnv((2,)), StepCounter(max_steps=4)),
    "root observation": lambda: TensorDictCountingEnv(max_steps=3),
}


def seeded_rollout(env: EnvBase, steps: int = 40) -> TensorDictBase:
    """Random actions, across resets."""
    torch.manual_seed(0)
    env.set_seed(5)
    return env.rollout(steps, break_when_any_done=False)


def assert_same(first: TensorDictBase, second: TensorDictBase) -> None:
    """Bit for bit."""
    a, b = unpack_flat(first), unpack_flat(second)
    assert set(a) == set(b)
    assert all(a[key].dtype is b[key].dtype and torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("num_processes", [1, 3, 4])
@pytest.mark.parametrize("name", MAKERS)
def test_data_are_those_of_serial_env(name: str, num_processes: int) -> None:
    """Under a seed the data equal those of a SerialEnv bit for bit, resets included, over however many processes."""
    expected = seeded_rollout(SerialEnv(4, MAKERS[name]))
    assert expected["next", "done"].any()
    with ParallelEnv(4, MAKERS[name], num_processes=num_processes, start_method="fork") as env:
        assert env.num_processes == num_processes
        assert_same(seeded_rollout(env), expected)


@pytest.mark.slow
@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
def test_fresh_interpreters_give_the_same(start_method: Any, leaves_nothing: None) -> None:
    """Lambdas travel to fresh interpreters, where the data are the same."""
    limit = 3
    make = lambda: CountingEnv(max_steps=limit)  # noqa: E731
    with ParallelEnv(2, make, start_method=start_method) as env:
        assert_same(seeded_rollout(env), seeded_rollout(SerialEnv(2, make)))


def test_transforms_around() -> None:
    """Transforms around the processes, which change the entries of the root, give what they give around a SerialEnv."""

    def wrapped(env: EnvBase) -> EnvBase:
        transforms = [DoubleToFloat(), VecNorm(["observation"]), RewardSum(), StepCounter(max_steps=9)]
        return TransformedEnv(env, transforms)

    make = lambda: GymEnv("HalfCheetah-v5")  # noqa: E731
    with wrapped(ParallelEnv(2, make, start_method="fork")) as env:
        assert_same(seeded_rollout(env), seeded_rollout(wrapped(SerialEnv(2, make))))


def test_root_entries_are_those_of_the_caller() -> None:
    """A root that the caller changes in place, takes from an earlier step, or makes anew is what the workers see."""

    def steps(env: EnvBase) -> list[TensorDictBase]:
        action = torch.zeros(2, 1)
        first, root = env.step_and_maybe_reset(env.reset().set("action", action))
        root["observation"][1] += 10.0
        second, root = env.step_and_maybe_reset(root.set("action", action))
        earlier = env.step(first.select("observation", "action"))
        third, _ = env.step_and_maybe_reset(root.set("action", action))
        with torch.inference_mode():
            fourth, root = env.step_and_maybe_reset(third.select("observation", "done", "action"))
            root["observation"] += 1.0
            fifth = env.step(root.set("action", action))
        return [first, second, earlier, third, fourth, fifth]

    with ParallelEnv(2, lambda: TensorDictCountingEnv(max_steps=50), start_method="fork") as env:
        for found, expected in zip(
            steps(env), steps(SerialEnv(2, lambda: TensorDictCountingEnv(max_steps=50))), strict=True
        ):
            assert_same(found, expected)


class LastActionEnv(EnvBase):
    """Observes the action of the step before, and keeps the tensor that it was given."""

    accepts_mapping = True

    def __init__(self) -> None:
        super().__init__()
        self.observation_spec = Unbounded(shape=(1,))
        self.action_spec = Unbounded(shape=(1,))
        self._kept = torch.zeros(1)

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return {"observation": torch.zeros(1)}

    def _step(self, data: TensorMap) -> FlatDict:
        before, self._kept = self._kept, data["action"]
        return {"observation": before, "reward": before, "done": torch.zeros(1, dtype=torch.bool)}

    def _set_seed(self, seed: int) -> None:
        self._kept = torch.zeros(1)


def test_environments_may_keep_their_actions() -> None:
    """An action that an environment keeps is not overwritten by the next; gradients stop at the processes."""
    with ParallelEnv(2, LastActionEnv, start_method="fork") as env:
        root: TensorDictBase = env.reset()
        seen = []
        for value in (1.0, 2.0, 3.0):
            action = torch.full((2, 1), value, requires_grad=True)
            stepped, root = env.step_and_maybe_reset(root.set("action", action))
            seen.append(stepped["next", "observation"])
    assert torch.cat(seen, -1).tolist() == [[0.0, 1.0, 2.0]] * 2
    assert not any(value.requires_grad for value in seen)


def test_states_move_between_serial_and_parallel() -> None:
    """A state saved from a SerialEnv goes on in processes bit for bit, and back."""
    serial = SerialEnv(3, transformed_cheetah)
    seeded_rollout(serial, 5)
    with ParallelEnv(3, transformed_cheetah, num_processes=2, start_method="fork") as env:
        assert env.has_exact_state
        env.load_state_dict(serial.state_dict())
        root = serial.rand_action(serial.fake_tensordict().exclude("next"))
        assert_same(env.step(root.clone()), serial.step(root.clone()))
        serial.set_state(env.get_state())
        assert_same(env.step(root.clone()), serial.step(root.clone()))
        with pytest.raises(ValueError, match="another number of envs"):
            env.set_state({"envs": env.get_state()["envs"][:2]})
        assert not env.is_closed


def test_mode_reaches_the_workers() -> None:
    """In evaluation mode the statistics of transforms in the workers stay as they are."""
    with ParallelEnv(2, transformed_cheetah, start_method="fork") as env:
        seeded_rollout(env, 3)
        env.eval()
        before = str(env.state_dict()["envs"][0]["transform"])
        env.rollout(3)
        assert str(env.state_dict()["envs"][0]["transform"]) == before
        env.train().rollout(3)
        assert str(env.state_dict()["envs"][0]["transform"]) != before


class GlobalRandomEnv(CountingEnv):  # type: ignore[misc]  # final, and a stand-in for careless environments
    """Draws from one of the global generators."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self._draw = draw

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return {"observation": torch.tensor([self._draw()])}


DRAWS: dict[str, Callable[[], float]] = {
    "torch": lambda: torch.rand(()).item(),
    "numpy": lambda: float(np.random.rand()),
    "python": random.random,
}


@pytest.mark.parametrize("name", DRAWS)
def test_global_generators_differ_between_workers(name: str) -> None:
    """No two workers share the stream of a global generator, and all of them follow the torch seed of this process,
    whatever its other generators have drawn.
    """
    draw = DRAWS[name]

    def observations(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        with ParallelEnv(4, lambda: GlobalRandomEnv(draw), start_method="fork") as env:
            rows = [env.reset()["observation"] for _ in range(3)]
        draw()
        return torch.cat(rows)

    first = observations(3)
    assert len(set(first.flatten().tolist())) == 12
    assert torch.equal(first, observations(3))
    assert not set(first.flatten().tolist()) & set(observations(4).flatten().tolist())


def test_two_at_once(leaves_nothing: None) -> None:
    """Two of them at a time do not disturb each other, whichever is closed first."""
    make = MAKERS["one-hot actions"]
    expected = seeded_rollout(SerialEnv(2, make))
    first, second = (ParallelEnv(2, make, start_method="fork") for _ in range(2))
    assert_same(seeded_rollout(first), expected)
    assert_same(seeded_rollout(second), expected)
    first.close()
    assert_same(seeded_rollout(second), expected)
    second.close()


class WrongShapeEnv(CountingEnv):  # type: ignore[misc]  # final, and all but its observations as wanted
    """Returns observations that would broadcast into their place, or none."""

    def __init__(self, entries: FlatDict) -> None:
        super().__init__()
        self.observation_spec = Unbounded(shape=(3,))
        self._entries = entries

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return dict(self._entries)


@pytest.mark.parametrize(
    ("error", "text", "arguments"),
    [
        (ValueError, "num_workers", (0, CountingEnv)),
        (TypeError, "create_env_fn", (2, CountingEnv())),
        (ValueError, "another number of callables", (3, [CountingEnv, CountingEnv])),
        (TypeError, "gave no environment.*(\n.*)*worker 0", (1, lambda: gymnasium.make("CartPole-v1"))),
        (ValueError, "CartPol-v1(.|\n)*raised in worker 1", (2, [CountingEnv, lambda: GymEnv("CartPol-v1")])),
        (SpecError, r"ParallelEnv: the specs of env 1 differ from those of env 0(.|\n)*agents",
         (2, [CountingEnv, lambda: CountingEnv(prefix=("agents",))])),
    ],
)  # fmt: skip
def test_mistakes(error: type[Exception], text: str, arguments: tuple[Any, ...], leaves_nothing: None) -> None:
    """What cannot work is refused as by SerialEnv, whether it shows here or in a worker, and leaves no worker."""
    with pytest.raises(error, match=text):
        ParallelEnv(*arguments, start_method="fork")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"start_method": "thread"}, "start_method"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"timeout_s": float("inf")}, "timeout_s.*found inf"),
        ({"timeout_s": "1"}, "timeout_s.*found '1'"),
        ({"num_processes": 3}, "num_processes"),
        ({"num_processes": 0}, "num_processes.*found 0"),
    ],
)
def test_mistakes_in_options(options: dict[str, Any], text: str) -> None:
    """Options that make no sense are refused by name."""
    with pytest.raises(ValueError, match=text):
        ParallelEnv(2, CountingEnv, **options)


@pytest.mark.parametrize(
    ("entries", "cause"),
    [({"observation": torch.zeros(1)}, ShapeError), ({"other": torch.zeros(3)}, MissingKeyError)],
)
def test_observations_of_another_form(entries: FlatDict, cause: type[Exception]) -> None:
    """An observation that is missing, or would be broadcast into its place, is an error."""
    env = ParallelEnv(1, lambda: WrongShapeEnv(entries), start_method="fork")
    with pytest.raises(RuntimeError, match="observation") as caught:
        env.reset()
    assert isinstance(caught.value.__cause__, cause)


class WidensEnv(CountingEnv):  # type: ignore[misc]  # final, and all but its observations as wanted
    """Observes one number more from its third step on, or nothing."""

    def __init__(self, *, is_missing: bool) -> None:
        super().__init__()
        self._is_missing = is_missing

    def _step(self, data: TensorMap) -> FlatDict:
        following = super()._step(data)
        if float(following["observation"]) > 2:
            del following["observation"]
            if not self._is_missing:
                following["observation"] = torch.zeros(2)
        return following


@pytest.mark.parametrize(("is_missing", "cause"), [(False, ShapeError), (True, MissingKeyError)])
def test_observations_that_change_their_form(is_missing: bool, cause: type[Exception]) -> None:
    """An observation that fits its place no longer in a later step is named, as in the first."""
    env = ParallelEnv(1, lambda: WidensEnv(is_missing=is_missing), start_method="fork")
    with pytest.raises(RuntimeError, match=r'_step(.|\n)*"observation"') as caught:
        env.rollout(5)
    assert isinstance(caught.value.__cause__, cause)


def test_what_cannot_be_pickled(leaves_nothing: None) -> None:
    """A callable that holds what cannot be sent to a fresh interpreter is refused, with the way out."""
    generator = (number for number in range(3))
    with pytest.raises(TypeError, match='start_method="fork"'):
        ParallelEnv(1, lambda: CountingEnv(max_steps=next(generator)))


def test_same_environment_twice() -> None:
    """A callable that gives one environment twice is found within a worker."""
    shared = CountingEnv()
    with pytest.raises(ValueError, match="same environment twice"):
        make_envs("ParallelEnv", [lambda: shared, lambda: shared])


class LearnedEnv(EnvBase):
    """Its observation is a parameter times the one before; refuses roots that carry a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_spec = Unbounded(shape=(1,))
        self.action_spec = Unbounded(shape=(1,))
        self._scale = torch.ones(1, requires_grad=True)

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return {"observation": torch.ones(1)}

    def _step(self, data: TensorMap) -> FlatDict:
        assert not any(value.requires_grad for value in unpack_flat(data).values())
        ended = torch.zeros(1, dtype=torch.bool)
        return {"observation": data["observation"] * self._scale, "reward": torch.zeros(1), "done": ended}

    def _set_seed(self, seed: int) -> None:
        """Nothing is random."""


def test_graphs_of_environments_do_not_grow_in_workers() -> None:
    """What a step computed with gradients comes back to the next without them: a chain of graphs would fill memory."""
    env = ParallelEnv(2, LearnedEnv, start_method="fork")
    rollout = env.rollout(5)
    env.close()
    assert rollout.batch_size == (2, 5)
    assert not any(value.requires_grad for value in unpack_flat(rollout).values())
