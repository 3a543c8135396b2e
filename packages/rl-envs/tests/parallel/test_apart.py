"""Tests of `rl_envs.parallel._apart` and `rl_envs.parallel._row_wise`: entries without a place in shared memory."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import NonTensorData, NonTensorStack, TensorDict, TensorDictBase

from rl_envs import (
    AsyncEnvPool,
    ClosedEnvError,
    EnvBase,
    ParallelEnv,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    WorkerError,
    WorkerTimeoutError,
    check_env_specs,
)
from rl_envs._flat import unpack_flat
from rl_envs._ragged import Ragged
from rl_envs.testing import CountingEnv, GrowingEnv, TextCountingEnv
from rl_specs import Choice, Composite, FlatDict, NonTensor, TensorMap, Unbounded

STEPS, FAULT_STEP = 11, 4
FAULTS: dict[str, Callable[[], object]] = {
    "raise": lambda: 1 / 0,
    "exit": lambda: os._exit(7),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang": lambda: time.sleep(1000),
    "not picklable": lambda: None,
}


class ChatEnv(EnvBase):
    """Takes a word, and says all that was said, which it reads from the data; episodes of `length` words.

    Args:
        length: words of an episode.
        size: characters of what it says first.
        marks: a folder in which every step leaves a mark; None: there is no fault.
        fault: name of the fault that the step `FAULT_STEP` meets, once.
    """

    accepts_mapping = True

    def __init__(self, length: int = 3, *, size: int = 1, marks: Path | None = None, fault: str = "raise") -> None:
        super().__init__(batch_size=())
        said = Composite({"said": NonTensor((), example_data=""), "count": Unbounded(shape=(1,))})
        self.observation_spec = Composite({"chat": said})
        words: list[Any] = [NonTensor((), example_data=word) for word in ("yes", "no", "perhaps")]
        self.action_spec = Composite({"word": Choice(words)})
        self._length, self._size, self._marks, self._fault = length, size, marks, fault
        self._generator = torch.Generator().manual_seed(0)

    def _reset(self, data: TensorMap | None) -> FlatDict:
        letter = chr(ord("a") + int(torch.randint(26, (), generator=self._generator)))
        return self._observed(letter * self._size, torch.zeros(1))

    def _step(self, data: TensorMap) -> FlatDict:
        said: Any = f"{text(data['chat', 'said'])} {text(data['word'])}"
        if self._marks is not None:
            count = len(list(self._marks.iterdir()))
            (self._marks / str(count)).touch()
            if count == FAULT_STEP:
                FAULTS[self._fault]()
                said = time.localtime if self._fault != "not picklable" else (each for each in "abc")
        count_of_words = data["chat", "count"] + 1
        done = count_of_words >= self._length
        nothing = torch.zeros(1, dtype=torch.bool)
        return {
            **self._observed(said, count_of_words),
            "reward": count_of_words * 2,
            "done": done,
            "terminated": done,
            "truncated": nothing,
        }

    def _observed(self, said: Any, count: torch.Tensor) -> FlatDict:
        entry: Any = NonTensorData(said)
        return {("chat", "said"): entry, ("chat", "count"): count}

    def _set_seed(self, seed: int) -> None:
        self._generator.manual_seed(seed)


def text(value: Any) -> Any:
    """The object in an entry."""
    return value.data if isinstance(value, NonTensorData) else value


def texts(*words: str) -> Any:
    """An entry of several rows."""
    return NonTensorStack(*[NonTensorData(word) for word in words], stack_dim=0)


Makers = list[Callable[[], EnvBase]]
MAKERS: dict[str, Makers] = {
    "text": [partial(TextCountingEnv, max_steps=2 + row) for row in range(3)],
    "text in batches": [partial(TextCountingEnv, (2,), max_steps=[2, 3 + row]) for row in range(3)],
    "objects in and out": [partial(ChatEnv, 2 + row) for row in range(3)],
    "open sizes": [partial(GrowingEnv, max_steps=4)] * 3,
    "different envs": [partial(TextCountingEnv, max_steps=3), partial(CountingEnv, max_steps=2), TextCountingEnv],
}
RUNNERS: dict[str, Callable[[Makers], EnvBase]] = {
    "a process each": lambda makers: ParallelEnv(3, makers, start_method="fork"),
    "two processes": lambda makers: ParallelEnv(3, makers, num_processes=2, start_method="fork"),
    "restarts": lambda makers: ParallelEnv(3, makers, num_processes=2, start_method="fork", restart_on_failure=1),
    "asynchronous": lambda makers: AsyncEnvPool(
        makers, backend="multiprocessing", num_processes=2, start_method="fork", stack="maybe_dense"
    ),
    "threads": lambda makers: AsyncEnvPool(makers, backend="threading", stack="maybe_dense"),
}


def plain(data: TensorDictBase) -> dict[Any, Any]:
    """All entries of every row as lists, which can be compared."""
    rows = {}
    for row in range(len(data)):
        value: Any
        for key, value in unpack_flat(data[row]).items():
            parts: tuple[Any, ...] = value.rows if isinstance(value, Ragged) else (value,)
            rows[row, key] = [part.tolist() for part in parts]
    return rows


def seeded_rollout(env: EnvBase, steps: int = STEPS) -> TensorDictBase:
    """Random actions, across resets."""
    torch.manual_seed(0)
    env.set_seed(5)
    return env.rollout(steps, break_when_any_done=False, return_contiguous=False)


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("kind", MAKERS)
def test_data_are_those_of_a_serial_env(kind: str, runner: str, leaves_nothing: None) -> None:
    """Text, objects and tensors of open sizes come out of workers as out of one process, resets of rows included."""
    expected = seeded_rollout(SerialEnv(3, MAKERS[kind]))
    env = RUNNERS[runner](MAKERS[kind])
    found = seeded_rollout(env)
    env.close()
    assert plain(found) == plain(expected)
    assert plain(found)


@pytest.mark.parametrize("runner", ["two processes", "asynchronous"])
def test_specs_hold(runner: str, leaves_nothing: None) -> None:
    """What comes out is in the specs, which are those of a `SerialEnv`, and what comes in is handed over."""
    env = RUNNERS[runner](MAKERS["objects in and out"])
    check_env_specs(env)
    root = env.reset()
    following = env.step(root.set("word", texts("to", "be", "or")))["next"]
    said, first = (data.get(("chat", "said")).tolist() for data in (following, root))
    assert said == [f"{letter} {word}" for letter, word in zip(first, ("to", "be", "or"), strict=True)]
    env.close()


@pytest.mark.parametrize("runner", ["two processes", "restarts", "asynchronous"])
def test_partial_resets_leave_other_rows_alone(runner: str, leaves_nothing: None) -> None:
    """Rows outside of the mask keep text and objects, whether their worker has rows to reset or not."""
    env = RUNNERS[runner](MAKERS["objects in and out"])
    env.set_seed(1)
    root = env.step_mdp(env.rand_step(env.reset()))
    before = root.get(("chat", "said")).tolist()
    for rows in ([True, False, False], [False, False, True], [False, True, True]):
        fresh = env.reset(root.clone().set("_reset", torch.tensor(rows)))
        after = fresh.get(("chat", "said")).tolist()
        assert [len(said) == 1 for said in after] == rows
        assert all(new == old for new, old, is_reset in zip(after, before, rows, strict=True) if not is_reset)
        assert fresh["chat", "count"].flatten().tolist() == [0.0 if is_reset else 1.0 for is_reset in rows]
    env.close()


def test_a_reset_of_everything_is_handed_objects() -> None:
    """What is given to a reset of everything reaches transforms and environments in the workers."""
    env = ParallelEnv(2, lambda: TransformedEnv(TextCountingEnv(), StepCounter()), start_method="fork")
    given = TensorDict({"note": texts("x", "y")}, batch_size=[2])
    assert env.reset(given).get("text").tolist() == ["step 0"] * 2
    env.close()


def test_text_of_any_length(leaves_nothing: None) -> None:
    """Text that no pipe can hold goes both ways, several environments to a worker, all asked before any answer."""
    makers = [partial(ChatEnv, 3, size=200_000)] * 4
    env = AsyncEnvPool(makers, backend="multiprocessing", num_processes=1, start_method="fork", timeout_s=120.0)
    stepped = env.rand_step(env.reset())
    env.async_step_send(env.rand_action(env.step_mdp(stepped)))
    received = env.async_step_recv(4)
    assert all(len(said) > 200_004 for said in received.get(("next", "chat", "said")).tolist())
    env.close()
    with ParallelEnv(4, makers, num_processes=2, start_method="fork", timeout_s=120.0) as parallel:
        assert len(seeded_rollout(parallel, 2).get(("next", "chat", "said"))[0].tolist()[1]) > 200_004


def failing(tmp_path: Path, fault: str, **options: Any) -> ParallelEnv:
    """Three environments, of which the second meets a fault."""
    makers = [partial(ChatEnv, 9), partial(ChatEnv, 9, marks=tmp_path, fault=fault), partial(ChatEnv, 9)]
    return ParallelEnv(3, makers, start_method="fork", **options)


@pytest.mark.parametrize("fault", FAULTS)
def test_failures_are_told(fault: str, tmp_path: Path, leaves_nothing: None) -> None:
    """A worker that fails in a step with objects is told as in any other step, and all are closed."""
    env = failing(tmp_path, fault, timeout_s=2.0 if fault == "hang" else None)
    told = {
        "raise": r"worker 1 raised(.|\n)*ZeroDivisionError",
        "exit": "worker 1 ended with exit code 7",
        "kill": "worker 1 was killed by SIGKILL",
        "hang": "worker 1 did not finish within 2 s",
        "not picklable": r"worker 1 raised(.|\n)*cannot pickle 'generator'",
    }[fault]
    with pytest.raises(WorkerTimeoutError if fault == "hang" else WorkerError, match=told):
        seeded_rollout(env)
    with pytest.raises(ClosedEnvError):
        env.reset()


@pytest.mark.parametrize("fault", ["raise", "kill"])
def test_failures_of_an_asynchronous_pool(fault: str, tmp_path: Path, leaves_nothing: None) -> None:
    """A process that fails while others have answered is told, and all are closed."""
    makers = [partial(ChatEnv, 9), partial(ChatEnv, 9, marks=tmp_path, fault=fault), partial(ChatEnv, 9)]
    env = AsyncEnvPool(makers, backend="multiprocessing", start_method="fork")
    with pytest.raises(WorkerError, match=r"worker 1 (raised|was killed by SIGKILL)"):
        seeded_rollout(env)
    env.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_the_others_do_not_notice(fault: str, tmp_path: Path, leaves_nothing: None) -> None:
    """With restarts the episode ends with its last words, truncated, and goes on; the others are what they were."""
    expected = plain(seeded_rollout(SerialEnv(3, partial(ChatEnv, 9))))
    with failing(tmp_path, fault, timeout_s=2.0, restart_on_failure=1) as env:
        steps = seeded_rollout(env)
    found = plain(steps)
    for (row, key), value in expected.items():
        count = FAULT_STEP if row == 1 else STEPS
        assert found[row, key][0][:count] == value[0][:count], (row, key)
    [said], [following] = found[1, ("chat", "said")], found[1, ("next", "chat", "said")]
    assert following[FAULT_STEP] == said[FAULT_STEP]
    flags = [found[1, ("next", flag)][0][FAULT_STEP] for flag in ("done", "truncated", "terminated")]
    assert flags == [[True], [True], [False]]
    assert len(said[FAULT_STEP + 1]) == 1
    assert following[-1].startswith(said[FAULT_STEP + 1])


def test_killed_between_steps(leaves_nothing: None, workers_of: Callable[[], list[int]]) -> None:
    """A worker that is gone at a reset of its rows gives fresh words and fresh numbers that belong together."""
    with ParallelEnv(3, partial(ChatEnv, 9), start_method="fork", restart_on_failure=2) as env:
        env.set_seed(3)
        root = env.step_mdp(env.rand_step(env.reset()))
        os.kill(workers_of()[1], signal.SIGKILL)
        fresh = env.reset(root.clone().set("_reset", torch.tensor([False, True, False])))
        assert [len(said) == 1 for said in fresh.get(("chat", "said")).tolist()] == [False, True, False]
        assert fresh["chat", "count"].flatten().tolist() == [1.0, 0.0, 1.0]
        assert not env.rand_step(fresh)["next", "done"].any()


def test_a_missing_entry_is_named() -> None:
    """An environment that leaves out an object which its specs have is told so, with the key."""

    class Silent(TextCountingEnv):  # type: ignore[misc]  # final, and broken on purpose
        """Says nothing in a step."""

        def _step(self, data: TensorMap) -> FlatDict:
            found = super()._step(data)
            del found["text"]
            return found

    env = ParallelEnv(2, Silent, start_method="fork")
    with pytest.raises(WorkerError, match='"text" missing'):
        env.rand_step(env.reset())
