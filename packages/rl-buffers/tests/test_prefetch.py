"""Batches made ahead by a thread."""

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from rl_buffers import (
    ConsumingSampler,
    LazyTensorStorage,
    LinearAnnealing,
    ListStorage,
    PrioritizedSampler,
    PrioritizedSliceSampler,
    RandomSampler,
    RankPrioritizedSampler,
    SamplerWithoutReplacement,
    SliceSampler,
    SliceSamplerWithoutReplacement,
    StalenessAwareSampler,
    StreamingSliceSampler,
    TensorDictReplayBuffer,
)

END = ("next", "done")
SAMPLERS: dict[str, Any] = {
    "random": RandomSampler,
    "pass": SamplerWithoutReplacement,
    "full batches": lambda: SamplerWithoutReplacement(drop_last=True),
    "consuming": lambda: ConsumingSampler(max_sample_count=2),
    "slices": lambda: SliceSampler(num_slices=1, end_key=END, strict_length=False),
    "slice passes": lambda: SliceSamplerWithoutReplacement(num_slices=1, end_key=END, strict_length=False),
    "streaming": lambda: StreamingSliceSampler(slice_len=1, end_key=END),
    "prioritized": lambda: PrioritizedSampler(10, 0.7, LinearAnnealing(0.4, 1.0, 30)),
    "ranked": lambda: RankPrioritizedSampler(10, 0.7, LinearAnnealing(0.4, 1.0, 30)),
    "prioritized slices": lambda: PrioritizedSliceSampler(10, 0.7, 0.5, num_slices=1, end_key=END, strict_length=False),
    "stale": lambda: StalenessAwareSampler(version_key="a"),
}


def _rows(first: int, count: int) -> TensorDict:
    numbers = torch.arange(first, first + count)
    done = numbers.view(-1, 1) % 4 == 0
    inner = {"b": numbers.double().view(-1, 1).expand(-1, 3)}
    return TensorDict({"a": numbers, "in": inner, "next": {"done": done}}, batch_size=[count])


def _buffer(prefetch: int | None, sampler: str = "random", **options: Any) -> TensorDictReplayBuffer:
    storage = options.pop("storage", None)  # an empty one is false
    return TensorDictReplayBuffer(
        storage=LazyTensorStorage(10) if storage is None else storage,
        sampler=SAMPLERS[sampler](),
        batch_size=3,
        generator=torch.Generator().manual_seed(3),
        prefetch=prefetch,
        **options,
    )


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("rl-buffers")]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("sample"), st.integers(1, 4)),
        st.tuples(st.just("sample"), st.just(3)),
        st.tuples(st.just("extend"), st.integers(1, 14)),
        st.tuples(st.just("add"), st.just(1)),
        st.tuples(st.just("replace"), st.integers(0, 9)),
        st.tuples(st.just("iterate"), st.integers(1, 5)),
        st.tuples(st.just("save"), st.just(0)),
        st.tuples(st.just("empty"), st.just(0)),
    ),
    max_size=25,
)


def _run(buffer: TensorDictReplayBuffer, steps: list[tuple[str, int]]) -> list[list[float]]:
    seen: list[TensorDict] = []
    buffer.extend(_rows(0, 7))
    first = 7
    for name, count in steps:
        if name == "sample":
            try:
                seen.append(buffer.sample(min(count, len(buffer.storage))))
            except (ValueError, RuntimeError) as error:
                seen.append(TensorDict({"failed": torch.tensor(len(str(error)))}))
        elif name == "extend":
            buffer.extend(_rows(first, count))
        elif name == "add":
            buffer.add(_rows(first, 1)[0])
        elif name == "replace":
            buffer[count % len(buffer.storage)] = _rows(first, 1)[0]
        elif name == "iterate":
            seen += [batch for batch, _ in zip(buffer, range(count), strict=False)]
        elif name == "save":
            buffer.load_state_dict(buffer.state_dict())
        else:
            buffer.empty()
            buffer.extend(_rows(first, 5))
        first += count + 5
    batches = [batch for batch in seen if "a" in batch]
    assert all(torch.equal(batch["a"].double(), batch["in", "b"][:, 1]) for batch in batches)
    return [torch.cat([value.flatten().double() for value in batch.values(True, True)]).tolist() for batch in seen]


@given(STEPS, st.sampled_from(sorted(SAMPLERS)), st.integers(1, 4), st.booleans())
@settings(max_examples=80, deadline=None)
def test_prefetching_is_not_seen(steps: list[tuple[str, int]], sampler: str, depth: int, is_list: bool) -> None:
    """Whatever is written, saved, iterated and sampled in between, batches are those made without prefetching."""
    ahead = _buffer(depth, sampler, storage=ListStorage(10) if is_list else None)
    plain = _buffer(None, sampler, storage=ListStorage(10) if is_list else None)
    assert _run(ahead, steps) == _run(plain, steps)
    ahead.close()


def test_batches_are_made_ahead_in_another_thread() -> None:
    """From the second batch after a change on, so many batches more are read before they are asked for."""
    made: list[str] = []
    arrived = threading.Semaphore(0)

    def note(batch: TensorDict) -> TensorDict:
        made.append(threading.current_thread().name)
        arrived.release()
        return batch

    buffer = _buffer(2, transform=note)
    buffer.extend(_rows(0, 10))
    buffer.sample()
    assert len(made) == 1
    buffer.sample()
    for _ in range(4):
        assert arrived.acquire(timeout=20)
    assert len(made) == 4
    others = [name for name in made if name != threading.current_thread().name]
    assert len(others) == 2
    assert all(name.startswith("rl-buffers-prefetch") for name in others)
    buffer.close()


def test_an_overwritten_row_is_not_shown_under_its_old_number() -> None:
    """Batches that wait when their rows are overwritten are made anew."""
    buffer = _buffer(3)
    buffer.extend(_rows(0, 10))
    for first in range(10, 200, 10):
        buffer.sample()
        buffer.sample()
        buffer.extend(_rows(first, 10))
        batch = buffer.sample()
        assert torch.equal(batch["a"], batch["index"] + first)
    buffer.close()


def _load(buffer: TensorDictReplayBuffer) -> None:
    other = _buffer(None)
    other.extend(_rows(100, 10))
    buffer.load_state_dict(other.state_dict())


def _refill(buffer: TensorDictReplayBuffer) -> None:
    buffer.empty()
    buffer.extend(_rows(100, 2))


CHANGES: dict[str, Callable[[TensorDictReplayBuffer], object]] = {
    "add": lambda buffer: [buffer.add(row) for row in _rows(100, 10).unbind(0)],
    "empty": _refill,
    "extend": lambda buffer: buffer.extend(_rows(100, 10)),
    "load": _load,
    "replace": lambda buffer: buffer.__setitem__(slice(None), _rows(100, 10)),
    "transform": lambda buffer: buffer.append_transform(lambda batch: batch.set("a", batch["a"] + 100)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_takes_back_what_waits(change: str) -> None:
    """The first batch after a change has nothing of the rows and transforms that were there before."""
    buffer = _buffer(3)
    buffer.extend(_rows(0, 10))
    for _ in range(3):
        assert (buffer.sample()["a"] < 100).all()
    CHANGES[change](buffer)
    for _ in range(5):
        assert (buffer.sample()["a"] >= 100).all()
    buffer.close()


def test_what_goes_wrong_in_the_thread_reaches_the_caller() -> None:
    """The error of a transform is raised where its batch would have been returned; later batches are made."""
    calls = []

    def fail_sometimes(batch: TensorDict) -> TensorDict:
        calls.append(batch["a"])
        if len(calls) in (3, 4):
            raise KeyError(f"call {len(calls)}")
        return batch

    buffer, plain = _buffer(2, "pass", transform=fail_sometimes), _buffer(None, "pass")
    buffer.extend(_rows(0, 10))
    plain.extend(_rows(0, 10))
    expected = [plain.sample(2)["a"].tolist() for _ in range(5)]
    assert buffer.sample(2)["a"].tolist() == expected[0]
    assert buffer.sample(2)["a"].tolist() == expected[1]
    for number in (3, 4):
        with pytest.raises(KeyError, match=f"call {number}"):
            buffer.sample(2)
    assert buffer.sample(2)["a"].tolist() == expected[4]
    assert len(buffer) == 10
    buffer.close()


def test_more_rows_than_there_are_is_the_same_error() -> None:
    """A batch that cannot be drawn fails when it is asked for, not before."""
    buffer = _buffer(2, "pass")
    buffer.extend(_rows(0, 4))
    assert buffer.sample(4)["a"].sort().values.tolist() == [0, 1, 2, 3]
    buffer.sample(4)
    with pytest.raises(ValueError, match="without replacement"):
        buffer.sample(5)
    assert buffer.sample(4)["a"].sort().values.tolist() == [0, 1, 2, 3]
    buffer.close()


@pytest.mark.parametrize("is_closed", [True, False])
def test_no_thread_is_left(is_closed: bool) -> None:
    """Closing the buffer, and dropping it, ends its thread; a closed buffer can be sampled on."""
    assert _threads() == []
    buffer = _buffer(2)
    buffer.extend(_rows(0, 10))
    for _ in range(4):
        buffer.sample()
    threads = _threads()
    assert len(threads) == 1
    if is_closed:
        buffer.close()
        buffer.close()
        assert len(buffer.sample()) == 3
    else:
        del buffer
        gc.collect()
        threads[0].join(20)
    assert _threads() == []


def test_gradients_are_those_of_the_caller() -> None:
    """Transforms in the thread record gradients exactly where the caller does."""
    weight = torch.ones((), requires_grad=True, dtype=torch.float64)

    def weigh(batch: TensorDict) -> TensorDict:
        return batch.set("b", batch["in", "b"] * weight)

    buffer = _buffer(2, transform=weigh)
    buffer.extend(_rows(0, 10))
    assert [buffer.sample()["b"].requires_grad for _ in range(4)] == [True] * 4
    with torch.no_grad():
        assert [buffer.sample()["b"].requires_grad for _ in range(4)] == [False] * 4
    assert buffer.sample()["b"].requires_grad
    buffer.close()


def test_several_threads_sample_with_prefetch() -> None:
    """While others write, every batch of every thread holds whole rows under their numbers of some moment."""
    buffer = _buffer(2)
    buffer.extend(_rows(0, 10))
    errors: list[BaseException] = []
    stop = threading.Event()

    def write() -> None:
        first = 0
        while not stop.is_set():
            first += 10
            buffer.extend(_rows(first, 10))
            stop.wait(0.002)

    def read() -> None:
        try:
            for _ in range(100):
                batch = buffer.sample()
                assert torch.equal(batch["a"] % 10, batch["index"])
                assert torch.equal(batch["a"].double(), batch["in", "b"][:, 2])
        except BaseException as error:
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    writer = threading.Thread(target=write)
    for thread in (*readers, writer):
        thread.start()
    for thread in readers:
        thread.join(60)
    stop.set()
    writer.join(10)
    buffer.close()
    assert errors == []
