"""Tests of `rl_envs.parallel.async_env_pool` and of what it is made of."""

import gc
import math
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import LazyStackedTensorDict, TensorDict, TensorDictBase

from rl_envs import (
    AsyncEnvPool,
    ClosedEnvError,
    EnvBase,
    GymEnv,
    ParallelEnv,
    PendulumEnv,
    ProcessorAsyncEnvPool,
    SerialEnv,
    StepCounter,
    ThreadingAsyncEnvPool,
    TransformedEnv,
)
from rl_envs._flat import unpack_flat
from rl_envs.testing import CountingEnv, EnvConformance, TensorDictCountingEnv
from rl_specs import FlatDict, MissingKeyError, ShapeError, SpecError, TensorMap

THREADS: dict[str, Any] = {"backend": "threading"}
PROCESSES: dict[str, Any] = {"backend": "multiprocessing", "start_method": "fork"}
BACKENDS = [pytest.param(THREADS, id="threads"), pytest.param(PROCESSES, id="processes")]


class TestOfSinglesInThreads(EnvConformance):
    """Single Gymnasium environments in threads keep every promise."""

    def make_env(self) -> EnvBase:
        """Three cart poles."""
        return AsyncEnvPool([lambda: GymEnv("CartPole-v1")] * 3)


class TestOfBatchesInProcesses(EnvConformance):
    """Batched environments in processes, two in one of them, keep every promise."""

    def make_env(self) -> EnvBase:
        """Three pairs, nested keys, episodes of different lengths."""
        make = lambda: CountingEnv((2,), max_steps=[2, 3], prefix=("agents",))  # noqa: E731
        return AsyncEnvPool([make] * 3, num_processes=2, **PROCESSES)


class TestOfTensorDictEnvs(EnvConformance):
    """Environments that take TensorDicts, and read their last observation there, keep every promise."""

    def make_env(self) -> EnvBase:
        """Two of them."""
        return AsyncEnvPool([TensorDictCountingEnv] * 2, **PROCESSES)


MAKERS: dict[str, Callable[[], EnvBase]] = {
    "one-hot actions": lambda: GymEnv("CartPole-v1"),
    "batched": lambda: TransformedEnv(PendulumEnv((2,)), StepCounter(max_steps=4)),
    "root observation": lambda: TensorDictCountingEnv(max_steps=3),
}
OPTIONS = [
    pytest.param(THREADS, id="threads"),
    pytest.param({**PROCESSES, "num_processes": 1}, id="1 process"),
    pytest.param({**PROCESSES, "num_processes": 3}, id="3 processes"),
    pytest.param(PROCESSES, id="4 processes"),
]


def assert_same(first: TensorDictBase, second: TensorDictBase) -> None:
    """Bit for bit."""
    a, b = unpack_flat(first), unpack_flat(second)
    assert set(a) == set(b)
    assert all(a[key].dtype is b[key].dtype and torch.equal(a[key], b[key]) for key in a)


def seeded_rollout(env: EnvBase, steps: int = 40) -> TensorDictBase:
    """Random actions, across resets."""
    torch.manual_seed(0)
    env.set_seed(5)
    return env.rollout(steps, break_when_any_done=False)


def seeded_actions(env: EnvBase, steps: int) -> list[TensorDictBase]:
    """Random actions of all environments for each step."""
    torch.manual_seed(0)
    return [env.rand_action().select(*env.action_keys) for _ in range(steps)]


def trajectories(env: EnvBase, steps: int = 25) -> TensorDictBase:
    """Steps `[N, *B, T]` of a synchronous environment under these actions."""
    env.set_seed(5)
    root: TensorDictBase = env.reset()
    found = []
    for action in seeded_actions(env, steps):
        stepped, root = env.step_and_maybe_reset(root.update(action))
        found.append(stepped)
    steps_by_time: TensorDictBase = TensorDict.stack(found, -1)
    return steps_by_time


def async_trajectories(pool: AsyncEnvPool, min_get: int, steps: int = 25) -> TensorDictBase:
    """The same, each environment being sent its next action as soon as it is ready."""
    pool.set_seed(5)
    actions = seeded_actions(pool, steps)
    pool.async_reset_send()
    root: TensorDictBase = pool.async_reset_recv(min_get=pool.num_envs)
    found: list[list[TensorDictBase]] = [[] for _ in range(pool.num_envs)]
    under_way = 0
    while True:
        index = root["env_index"].reshape(len(root), -1)[:, 0].tolist()
        going = [position for position, env in enumerate(index) if len(found[env]) < steps]
        if going:
            chosen = TensorDict.stack([actions[len(found[index[position]])][index[position]] for position in going])
            pool.async_step_and_maybe_reset_send(root[going].update(chosen))
            under_way += len(going)
        if not under_way:
            break
        stepped, root = pool.async_step_and_maybe_reset_recv(min(min_get, under_way))
        under_way -= len(stepped)
        for row in stepped.unbind(0):
            found[int(row["env_index"].flatten()[0])].append(row.exclude("env_index"))
    by_environment: TensorDictBase = TensorDict.stack([TensorDict.stack(each, -1) for each in found])
    return by_environment


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", MAKERS)
def test_as_one_environment_it_is_a_serial_env(name: str, options: dict[str, Any], leaves_nothing: None) -> None:
    """Under a seed a rollout equals that of a SerialEnv bit for bit, resets included, over however many workers."""
    expected = seeded_rollout(SerialEnv(4, MAKERS[name]))
    assert expected["next", "done"].any()
    with AsyncEnvPool([MAKERS[name]] * 4, **options) as pool:
        assert_same(seeded_rollout(pool), expected)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("min_get", [1, 4])
@pytest.mark.parametrize("name", MAKERS)
def test_asynchronous_data_are_those_of_serial_env(name: str, min_get: int, options: dict[str, Any]) -> None:
    """Each environment's trajectory is that of its row in a SerialEnv bit for bit, whichever was ready first."""
    expected = trajectories(SerialEnv(4, MAKERS[name]))
    assert expected["next", "done"].any()
    with AsyncEnvPool([MAKERS[name]] * 4, **options) as pool:
        assert_same(async_trajectories(pool, min_get), expected)


def test_parallel_env_is_the_same() -> None:
    """The trajectories of a ParallelEnv are the same too."""
    make = MAKERS["batched"]
    with ParallelEnv(4, make, start_method="fork") as env, AsyncEnvPool([make] * 4, min_get=4, **PROCESSES) as pool:
        assert_same(async_trajectories(pool, 4), trajectories(env))


class SlowEnv(CountingEnv):  # type: ignore[misc]  # final, and all but its speed as wanted
    """Takes its time for a step."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def _step(self, data: TensorMap) -> FlatDict:
        time.sleep(self._seconds)
        return super()._step(data)


def pool_of(*seconds: float, **options: Any) -> AsyncEnvPool:
    """Environments that take so long for a step, after a reset."""
    return AsyncEnvPool([lambda s=s: SlowEnv(s) for s in seconds], **options)


def with_actions(root: TensorDictBase, value: float = 0.5) -> TensorDictBase:
    """`root` with actions."""
    return root.set("action", torch.full((*root.batch_size, 1), value))


@pytest.mark.parametrize("options", BACKENDS)
def test_who_is_ready_comes_first(options: dict[str, Any]) -> None:
    """A slow environment keeps nobody waiting; its result comes later, in its own row."""
    with pool_of(1.0, 0.0, 0.0, **options) as pool:
        start = time.monotonic()
        pool.async_step_send(with_actions(pool.reset()))
        fast = pool.async_step_recv(min_get=2)
        assert fast["env_index"].tolist() == [1, 2]
        assert fast["next", "observation"].tolist() == [[1.0], [1.0]]
        pool.async_step_send(with_actions(fast["next"].select("observation").set("env_index", fast["env_index"])))
        again = pool.async_step_recv(min_get=2)
        assert again["env_index"].tolist() == [1, 2]
        assert again["next", "reward"].tolist() == [[2.5], [2.5]]
        assert time.monotonic() - start < 0.9
        slow = pool.async_step_recv()
        assert (slow["env_index"].tolist(), slow["next", "reward"].tolist()) == ([0], [[1.5]])


@pytest.mark.parametrize("options", BACKENDS)
def test_the_program_goes_on_meanwhile(options: dict[str, Any]) -> None:
    """Sending does not wait, and environments work at the same time."""
    with pool_of(0.4, 0.4, 0.4, **options) as pool:
        root = with_actions(pool.reset())
        start = time.monotonic()
        pool.async_step_send(root)
        assert time.monotonic() - start < 0.2
        assert len(pool.async_step_recv(min_get=3)) == 3
        assert time.monotonic() - start < 1.0


@pytest.mark.parametrize("options", BACKENDS)
def test_one_environment_alone(options: dict[str, Any]) -> None:
    """Data without the batch dimension are those of the environment named in them."""
    with pool_of(0.0, 0.0, **options) as pool:
        row = with_actions(pool.reset())[1]
        row["env_index"] = 1
        pool.async_step_send(row)
        found = pool.async_step_recv()
        assert (found.batch_size, found["env_index"].tolist()) == (torch.Size([1]), [1])


@pytest.mark.parametrize("options", BACKENDS)
def test_results_of_named_environments(options: dict[str, Any]) -> None:
    """Results can be taken by environment, in the order asked for, each of its own kind of request."""
    with pool_of(0.0, 0.0, 0.3, **options) as pool:
        root = with_actions(pool.reset()).set("env_index", torch.arange(3))
        pool.async_step_send(root[1:])
        pool.async_reset_send(root[:1].select("env_index"))
        assert pool.async_step_recv(env_index=[2, 1])["env_index"].tolist() == [2, 1]
        assert pool.async_reset_recv(env_index=0)["env_index"].tolist() == [0]
        with pytest.raises(RuntimeError, match=r"async_step_recv: environments \[1\] have not been sent"):
            pool.async_step_recv(env_index=1)
        with pytest.raises(ValueError, match="min_get and env_index exclude each other"):
            pool.async_step_recv(1, env_index=1)


@pytest.mark.parametrize("options", BACKENDS)
def test_an_environment_named_twice(options: dict[str, Any]) -> None:
    """It is refused, and its result still waits."""
    with AsyncEnvPool([CountingEnv] * 2, **options) as pool:
        pool.async_reset_send()
        with pytest.raises(ValueError, match=r"names an environment twice. Found \[0, 0\]"):
            pool.async_reset_recv(env_index=[0, 0])
        assert pool.async_reset_recv(env_index=[1, 0])["env_index"].tolist() == [1, 0]


@pytest.mark.parametrize("options", BACKENDS)
def test_entries_of_the_caller_come_back(options: dict[str, Any]) -> None:
    """What a policy writes beside the action comes back with the step and stays in the root, as in `step`."""
    with AsyncEnvPool([lambda: CountingEnv(max_steps=2)] * 2, **options) as pool:
        root = with_actions(pool.reset()).set("log_prob", torch.tensor([1.0, 2.0]))
        root["next", "memory"] = torch.tensor([3.0, 4.0])
        expected_step, expected_root = SerialEnv(2, lambda: CountingEnv(max_steps=2)).step_and_maybe_reset(root.clone())
        pool.async_step_and_maybe_reset_send(root)
        stepped, following = pool.async_step_and_maybe_reset_recv(min_get=2)
        assert_same(stepped.exclude("env_index"), expected_step)
        assert_same(following.exclude("env_index"), expected_root)


@pytest.mark.parametrize("options", BACKENDS)
def test_partial_reset(options: dict[str, Any]) -> None:
    """Rows outside the mask of a reset stay as they are, in the data and in the environment."""
    with AsyncEnvPool([lambda: CountingEnv((2,), max_steps=9)] * 3, **options) as pool:
        stepped = pool.step(with_actions(pool.reset()))
        root = stepped["next"].select("observation", "done", "terminated", "truncated")
        mask = torch.tensor([[True, False], [False, False], [True, True]])
        index = torch.arange(3).unsqueeze(1).expand(3, 2)
        pool.async_reset_send(root.clone().set("_reset", mask).set("env_index", index))
        fresh = pool.async_reset_recv(min_get=3)
        assert fresh["observation"].squeeze(-1).tolist() == [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]
        assert fresh["env_index"].tolist() == [[0, 0], [1, 1], [2, 2]]
        after = pool.step(with_actions(fresh.exclude("env_index")))["next", "observation"]
        assert after.squeeze(-1).tolist() == [[1.0, 2.0], [2.0, 2.0], [1.0, 1.0]]


def test_lazy_stacks() -> None:
    """With stack="lazy" or "maybe_dense" environments may have been sent different entries; a dense stack refuses."""
    root = TensorDict({"observation": torch.zeros(1, 1), "action": torch.zeros(1, 1)}, [1])
    more = root.clone().set("other", torch.ones(1))
    for stack in ("lazy", "maybe_dense", "dense"):
        with AsyncEnvPool([CountingEnv] * 2, stack=stack) as pool:
            pool.reset()
            pool.async_step_send(root.clone().set("env_index", torch.tensor([0])))
            pool.async_step_send(more.clone().set("env_index", torch.tensor([1])))
            if stack != "dense":
                found = pool.async_step_recv(min_get=2)
                assert isinstance(found, LazyStackedTensorDict)
                assert found[1]["other"] == 1.0
                assert found["next", "observation"].tolist() == [[1.0], [1.0]]
            else:
                with pytest.raises(ValueError, match=r'sent different entries: other.*stack="lazy"'):
                    pool.async_step_recv(min_get=2)


@pytest.mark.parametrize("options", BACKENDS)
def test_states_move_to_and_from_a_serial_env(options: dict[str, Any]) -> None:
    """A state saved from a SerialEnv goes on in the pool bit for bit, and back; the mode reaches every environment."""
    serial = SerialEnv(3, lambda: GymEnv("CartPole-v1"))
    seeded_rollout(serial, 5)
    with AsyncEnvPool([lambda: GymEnv("CartPole-v1")] * 3, **options) as pool:
        assert pool.has_exact_state
        pool.load_state_dict(serial.state_dict())
        root = serial.rand_action(serial.fake_tensordict().exclude("next"))
        assert_same(pool.step(root.clone()), serial.step(root.clone()))
        serial.set_state(pool.get_state())
        assert_same(pool.step(root.clone()), serial.step(root.clone()))
        with pytest.raises(ValueError, match="another number of envs"):
            pool.set_state({"envs": pool.get_state()["envs"][:2]})
        assert not pool.eval().training


@pytest.mark.parametrize("options", BACKENDS)
def test_requests_that_cannot_be(options: dict[str, Any]) -> None:
    """What cannot be sent or received is refused by name, and the pool works on."""
    with pool_of(0.0, 0.0, 0.0, **options) as pool:
        root = with_actions(pool.reset()).set("env_index", torch.arange(3))
        with pytest.raises(MissingKeyError, match="env_index"):
            pool.async_step_send(root[:2].exclude("env_index"))
        with pytest.raises(ValueError, match=r"different integers from 0 to 2, found \[0, 3\]"):
            pool.async_step_send(root[:2].clone().set("env_index", torch.tensor([0, 3])))
        with pytest.raises(ValueError, match=r"found \[1, 1\]"):
            pool.async_step_send(root[:2].clone().set("env_index", torch.tensor([1, 1])))
        with pytest.raises(ShapeError, match="another batch size"):
            pool.async_step_send(root.unsqueeze(0).expand(2, 3))
        with pytest.raises(MissingKeyError, match="action"):
            pool.async_step_send(root.exclude("action"))
        with pytest.raises(ShapeError, match="action"):
            pool.async_step_send(root[:2].set("action", torch.zeros(2, 3)))
        with pytest.raises(TypeError, match="no TensorDict"):
            pool.async_step_send({"action": 1})  # type: ignore[arg-type]  # the mistake
        pool.async_step_send(root[:2])
        with pytest.raises(RuntimeError, match=r"environments \[1\] have been sent something"):
            pool.async_step_send(root[1:])
        with pytest.raises(RuntimeError, match=r"set_stream.*have been sent something"):
            pool.set_seed(0)
        with pytest.raises(RuntimeError, match="have been sent something"):
            pool.step(root)
        with pytest.raises(RuntimeError, match=r"min_get is more than what has been sent.*at most 2, found 3"):
            pool.async_step_recv(min_get=3)
        with pytest.raises(ValueError, match="from 1 to the number of environments, 3, found 4"):
            pool.async_step_recv(min_get=4)
        assert len(pool.async_step_recv(min_get=2)) == 2
        with pytest.raises(RuntimeError, match="at most 0, found 1"):
            pool.async_step_recv()


@pytest.mark.parametrize("options", [{}, PROCESSES])
def test_nothing_can_be_sent(options: dict[str, Any]) -> None:
    """Data of no environment are sent to none; results of none cannot be asked for."""
    with AsyncEnvPool([CountingEnv] * 2, **options) as pool:
        root = pool.rand_action(pool.reset())
        root["env_index"] = torch.arange(2)
        pool.async_step_send(root[:0])
        pool.async_reset_send(root[:0])
        with pytest.raises(RuntimeError, match="at most 0, found 1"):
            pool.async_step_recv()
        with pytest.raises(ValueError, match="async_step_recv: env_index names no environment"):
            pool.async_step_recv(env_index=[])
        pool.async_step_send(root)
        assert pool.async_step_recv(min_get=2)["next", "observation"].flatten().tolist() == [1.0, 1.0]


MISTAKES: list[tuple[type[Exception], str, Any, dict[str, Any]]] = [
    (ValueError, "backend", [CountingEnv], {"backend": "asyncio"}),
    (ValueError, "stack", [CountingEnv], {"stack": "thick"}),
    (ValueError, "min_get", [CountingEnv], {"min_get": 2}),
    (ValueError, "num_processes is of no use to threads", [CountingEnv], {"num_processes": 1}),
    (ValueError, "num_processes", [CountingEnv], {**PROCESSES, "num_processes": 2}),
    (ValueError, "timeout_s", [CountingEnv], {"timeout_s": -1.0}),
    (ValueError, "timeout_s.*a positive number.*found inf", [CountingEnv], {**PROCESSES, "timeout_s": math.inf}),
    (ValueError, "timeout_s.*found '1'", [CountingEnv], {**PROCESSES, "timeout_s": "1"}),
    (ValueError, "env_makers.*one environment or more, found none", [], {}),
    (TypeError, "create_env_fn", [3], {}),
    (TypeError, "cannot move to another process", CountingEnv(), PROCESSES),
    (ValueError, "of no use to environments", CountingEnv(), {"create_env_kwargs": {"max_steps": 2}}),
    (SpecError, "specs of env 1 differ", [CountingEnv, lambda: CountingEnv(prefix=("a",))], {}),
    (SpecError, "specs of env 1 differ", [CountingEnv, lambda: CountingEnv(prefix=("a",))], PROCESSES),
]


@pytest.mark.parametrize(("error", "text", "makers", "options"), MISTAKES)
def test_mistakes(
    error: type[Exception], text: str, makers: Any, options: dict[str, Any], leaves_nothing: None
) -> None:
    """Options and environments that make no sense are refused by name, and nothing is left running."""
    before = threading.active_count()
    with pytest.raises(error, match=text):
        AsyncEnvPool(makers, **options)
    assert threading.active_count() == before


def test_names_for_each_backend() -> None:
    """The pools of one backend are pools with that backend; keyword arguments reach each environment."""
    with ThreadingAsyncEnvPool(CountingEnv(max_steps=7)) as pool:
        assert (pool.backend, pool.num_envs, pool.min_get) == ("threading", 1, 1)
        assert isinstance(pool, AsyncEnvPool)
    options = [{"max_steps": 1}, {"max_steps": 3}]
    with ProcessorAsyncEnvPool([CountingEnv] * 2, create_env_kwargs=options, start_method="fork", min_get=2) as pool:
        assert (pool.backend, pool.num_envs, pool.min_get) == ("multiprocessing", 2, 2)
        assert pool.step(with_actions(pool.reset()))["next", "done"].tolist() == [[True], [False]]
        assert "num_envs=2" in repr(pool)


@pytest.mark.parametrize("how", ["close", "shutdown", "collected"])
@pytest.mark.parametrize("options", BACKENDS)
def test_end(how: str, options: dict[str, Any], leaves_nothing: None) -> None:
    """Closed or collected, with steps under way too, it takes its threads, processes and memory with it in time."""
    before = threading.active_count()
    pool = pool_of(0.0, 0.3, **options)
    pool.async_step_send(with_actions(pool.reset()))
    pool.async_step_recv()
    start = time.monotonic()
    if how == "close":
        pool.close()
        pool.close()
    elif how == "shutdown":
        pool.shutdown()
    del pool
    gc.collect()
    while threading.active_count() > before:
        assert time.monotonic() - start < 4.0
        time.sleep(0.01)


class _AlarmError(Exception):
    pass


def _alarm(*_: object) -> None:
    raise _AlarmError


@pytest.mark.parametrize("options", BACKENDS)
def test_an_interrupt_while_waiting(options: dict[str, Any], leaves_nothing: None) -> None:
    """Ctrl-C ends the wait at once: processes end with it, threads go on and their results can still be received."""
    pool = pool_of(0.0, 0.8, **options)
    pool.async_step_send(with_actions(pool.reset()))
    before = signal.signal(signal.SIGALRM, _alarm)
    try:
        start = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(_AlarmError):
            pool.async_step_recv(min_get=2)
        assert time.monotonic() - start < 0.7
    finally:
        signal.signal(signal.SIGALRM, before)
    if pool.backend == "threading":
        assert pool.async_step_recv(min_get=2)["env_index"].tolist() == [0, 1]
    else:
        with pytest.raises(ClosedEnvError):
            pool.async_step_recv(min_get=2)
    pool.close()


@pytest.mark.slow
@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
def test_fresh_interpreters_give_the_same(start_method: Any, leaves_nothing: None) -> None:
    """Lambdas travel to fresh interpreters, where the data are the same."""
    limit = 3
    make = lambda: CountingEnv(max_steps=limit)  # noqa: E731
    with AsyncEnvPool([make] * 2, backend="multiprocessing", start_method=start_method) as pool:
        assert_same(async_trajectories(pool, 1), trajectories(SerialEnv(2, make)))


@pytest.mark.parametrize("options", BACKENDS)
def test_what_was_sent_is_the_callers_again(options: dict[str, Any]) -> None:
    """What is written to tensors after they were sent changes neither the step nor what comes back."""
    with AsyncEnvPool([CountingEnv] * 2, **options) as pool:
        pool.async_reset_send()
        root = pool.async_reset_recv(min_get=2)
        root["action"] = torch.full((2, 1), 0.5)
        pool.async_step_send(root)
        root["action"].fill_(-1.0)
        steps = pool.async_step_recv(min_get=2)
        assert steps["action"].tolist() == [[0.5], [0.5]]
        assert steps["next", "reward"].tolist() == [[1.5], [1.5]]


@pytest.mark.parametrize("count", [1, 2])
def test_answers_that_wait_are_not_late(count: int) -> None:
    """A caller that takes longer than the limit between sending and receiving still gets what was ready."""
    with AsyncEnvPool([CountingEnv] * 2, num_processes=count, timeout_s=0.5, **PROCESSES) as pool:
        pool.async_reset_send()
        time.sleep(1.0)
        assert len(pool.async_reset_recv(min_get=2)) == 2


SCRIPT = """
import time
import torch
from rl_envs import AsyncEnvPool
from rl_envs.testing import CountingEnv

class BusyEnv(CountingEnv):
    def _step(self, data):
        if {hangs}:
            time.sleep(1000)
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            torch.ones(300, 300) @ torch.ones(300, 300)
        return super()._step(data)

pool = AsyncEnvPool([CountingEnv, BusyEnv])
root = pool.reset()
pool.async_step_and_maybe_reset_send(pool.rand_action(root))
"""


@pytest.mark.parametrize("hangs", [True, False])
def test_threads_do_not_keep_a_program_from_its_end(hangs: bool, tmp_path: Path) -> None:
    """A program that closes nothing ends soon and without a word, though a thread of it hangs, or is computing."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(hangs=hangs))
    result = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
