"""Rows that are drawn a limited number of times."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from rl_buffers import (
    ConsumingSampler,
    LazyMemmapStorage,
    LazyTensorStorage,
    ListStorage,
    ReplayBuffer,
    RoundRobinWriter,
    TensorDictMaxValueWriter,
    TensorDictReplayBuffer,
    TensorDictRoundRobinWriter,
    TensorStorage,
)


def _buffer(sampler: ConsumingSampler, size: int = 10, seed: int = 0, prefetch: int | None = None) -> ReplayBuffer:
    generator = torch.Generator().manual_seed(seed)
    storage = LazyTensorStorage(size)
    return ReplayBuffer(storage=storage, sampler=sampler, batch_size=3, generator=generator, prefetch=prefetch)


def _steps(first: int, count: int) -> TensorDict:
    return TensorDict({"a": torch.arange(first, first + count)}, [count])


def test_rows_are_drawn_once() -> None:
    """Of 4 rows, 3 are drawn, then the one left; a batch of more is refused."""
    sampler = ConsumingSampler()
    buffer = ReplayBuffer(storage=ListStorage(10), sampler=sampler, batch_size=3)
    buffer.extend([torch.tensor(number) for number in range(4)])
    first = buffer.sample()
    assert sampler.available == len(buffer) == 1
    assert not sampler.can_sample(buffer.storage, 2)
    with pytest.raises(ValueError, match=r"batch of 3 rows.*at most the 1 rows that are not consumed"):
        buffer.sample()
    assert sorted([*first.tolist(), *buffer.sample(1).tolist()]) == [0, 1, 2, 3]


class _Model:
    """What a buffer of consumed rows holds: a dict by place, and a ring beside it."""

    def __init__(self, size: int, limit: int) -> None:
        self.size, self.limit = size, limit
        self.clear()

    def clear(self) -> None:
        """Nothing is stored."""
        self.rows: dict[int, int] = {}
        self.drawn: Counter[int] = Counter()
        self.cursor = 0

    def left(self) -> set[int]:
        """Values that can be drawn."""
        return {value for value in self.rows.values() if self.drawn[value] < self.limit}

    def write(self, values: list[int], places: list[Any]) -> None:
        """Write values where the buffer did, which is to be in the places of consumed ones, and then along the ring."""
        free = {place for place, value in self.rows.items() if self.drawn[value] >= self.limit}
        reused = min(len(free), len(values)) if len(values) < self.size else 0
        assert set(places[:reused]) <= free
        assert len(set(places)) == len(places) == min(len(values), self.size)
        skipped = len(values) - len(places)
        self.cursor = (self.cursor + skipped) % self.size
        for place in places[reused:]:
            while self.cursor in places[:reused]:
                self.cursor = (self.cursor + 1) % self.size
            assert place == self.cursor
            self.cursor = (self.cursor + 1) % self.size
        self.rows.update(zip(places, values[skipped:], strict=True))


@given(
    st.integers(1, 8),
    st.integers(1, 3),
    st.sampled_from([None, 2]),
    st.lists(st.tuples(st.sampled_from(["extend", "add", "sample", "save", "set", "empty"]), st.integers(1, 6))),
)
@settings(max_examples=80, deadline=None)
def test_rows_and_room_are_those_of_a_model(
    size: int, limit: int, prefetch: int | None, actions: list[tuple[str, int]]
) -> None:
    """No row is drawn too often, new ones take the room of consumed ones first, and lengths are those of a model."""
    sampler, model, total = ConsumingSampler(limit), _Model(size, limit), 0
    buffer = _buffer(sampler, size, prefetch=prefetch)
    for action, count in actions:
        if action in ("extend", "add"):
            values = torch.arange(total, total + (1 if action == "add" else count))
            places = [buffer.add(values[0])] if action == "add" else buffer.extend(values).tolist()
            model.write(values.tolist(), places)
            total += len(values)
        elif action == "sample" and model.rows:
            if count <= len(model.left()):
                batch = buffer.sample(count).tolist()
                assert set(batch) <= model.left()
                assert len(set(batch)) == count
                model.drawn.update(batch)
        elif action == "save":
            sampler = ConsumingSampler(limit)
            other = _buffer(sampler, size, seed=5, prefetch=prefetch)
            other.load_state_dict(buffer.state_dict())
            buffer.close()
            buffer = other
        elif action == "set" and model.rows:
            place = count % len(model.rows)
            buffer[place] = torch.tensor(model.rows[place])
        elif action == "empty":
            buffer.empty()
            model.clear()
        assert len(buffer) == sampler.available == len(model.left())
        assert not model.rows or buffer[:].tolist() == [model.rows[place] for place in range(len(model.rows))]
    buffer.close()


@pytest.mark.parametrize("writer", [RoundRobinWriter, TensorDictRoundRobinWriter])
@pytest.mark.parametrize("storage", [LazyTensorStorage, LazyMemmapStorage, ListStorage])
def test_room_is_given_back(writer: Any, storage: Any) -> None:
    """Of 4 rows 3 are consumed; the next three take their places, the fourth the place after, by `extend` or `add`."""
    for is_single in (False, True):
        buffer = TensorDictReplayBuffer(storage=storage(10), sampler=ConsumingSampler(), writer=writer(), batch_size=3)
        buffer.extend(_steps(0, 4))
        consumed = set(buffer.sample()["index"].tolist())
        assert len(buffer) == 1
        assert len(buffer.storage) == 4
        rows = _steps(10, 4)
        places: list[Any] = [buffer.add(row) for row in rows.unbind(0)] if is_single else buffer.extend(rows).tolist()
        assert set(places[:3]) == consumed
        assert places[3] == 4
        assert len(buffer) == len(buffer.storage) == 5
        assert buffer[places]["a"].tolist() == [10, 11, 12, 13]
        if writer is TensorDictRoundRobinWriter:
            assert [buffer[place]["index"].item() for place in range(5)] == list(range(5))
        assert len(set(buffer.sample(5)["a"].tolist())) == 5


def test_the_next_places_are_saved(tmp_path: Path) -> None:
    """A loaded buffer gives the same batches and writes to the same places, consumed ones included."""
    buffer, other = (_buffer(ConsumingSampler(2), 12, seed) for seed in range(2))
    buffer.extend(torch.arange(9))
    for _ in range(4):
        buffer.sample(3)
    buffer.dumps(tmp_path)
    other.loads(tmp_path)
    assert len(buffer) == len(other)
    for count in (2, 5, 1):
        assert buffer.extend(torch.arange(count)).tolist() == other.extend(torch.arange(count)).tolist()
        assert buffer.sample(2).tolist() == other.sample(2).tolist()


def test_a_writer_that_ranks_takes_consumed_rows_first() -> None:
    """A full buffer of the highest rows has room for lower ones again once rows are consumed, and only as many."""
    for dtype in (torch.int64, torch.float64):
        buffer = TensorDictReplayBuffer(
            storage=LazyTensorStorage(4), sampler=ConsumingSampler(), writer=TensorDictMaxValueWriter("a"), batch_size=3
        )
        buffer.extend(_steps(10, 4).to(dtype) if dtype.is_floating_point else _steps(10, 4))
        rows = _steps(0, 4)
        rows = rows.set("a", rows["a"].to(dtype))
        batch = buffer.sample()
        again = TensorDictReplayBuffer(
            storage=LazyTensorStorage(4), sampler=ConsumingSampler(), writer=TensorDictMaxValueWriter("a"), batch_size=3
        )
        again.load_state_dict(buffer.state_dict())
        for each in (buffer, again):
            index = each.extend(rows)
            assert set(index.tolist()) == set(batch["index"].tolist())
            assert each[index]["a"].tolist() == [1, 2, 3]
            assert len(each) == 4
            assert each.add(rows[0]) is None
            each.sample(4)
            state = each.state_dict()["writer"]["ranks"]
            assert state.dtype == dtype
            assert each.add(rows[0]) is not None


def test_rows_that_must_keep_their_place() -> None:
    """Lanes stay side by side: consumed rows keep their room until the ring comes to them."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(8, ndim=2), sampler=ConsumingSampler(), batch_size=3)
    buffer.extend(torch.arange(4).view(2, 2))
    buffer.sample()
    assert len(buffer) == 1
    assert buffer.extend(torch.arange(10, 14).view(2, 2)).tolist() == [4, 5, 6, 7]
    assert len(buffer) == 5
    assert buffer[:].tolist() == [[0, 1, 10, 11], [2, 3, 12, 13]]


@pytest.mark.parametrize("batch_size", [2, 12])
def test_each_row_is_equally_likely(batch_size: int) -> None:
    """First batches of 20 rows have each row equally often (chi-square, 19 degrees: 53 at 99.99 %)."""
    sampler, counts = ConsumingSampler(), torch.zeros(20)
    buffer = ReplayBuffer(storage=LazyTensorStorage(20), sampler=sampler, generator=torch.Generator().manual_seed(0))
    for _ in range(600):
        buffer.empty()
        buffer.extend(torch.arange(20))
        counts += torch.bincount(buffer.sample(batch_size), minlength=20)
    expected = counts.sum() / 20
    assert ((counts - expected) ** 2 / expected).sum() < 53


def test_a_row_written_again_is_drawn_as_often_as_a_new_one() -> None:
    """Rows drawn once of twice, then overwritten, can be drawn twice more, and the others once."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(4), sampler=ConsumingSampler(2))
    buffer.extend(torch.arange(4))
    assert len(buffer.sample(4)) == 4
    buffer.extend(torch.arange(4, 7))
    assert sorted(buffer.sample(4).tolist()) == [3, 4, 5, 6]
    assert sorted(buffer.sample(3).tolist()) == [4, 5, 6]
    with pytest.raises(ValueError, match="not consumed"):
        buffer.sample(1)


def test_iteration_ends_when_all_are_consumed() -> None:
    """A loop over the buffer draws each row, the last batch being smaller, and another finds nothing."""
    buffer = _buffer(ConsumingSampler(2))
    buffer.extend(torch.arange(5))
    batches = [batch.tolist() for batch in buffer]
    assert [len(batch) for batch in batches] == [3, 3, 3, 1]
    assert Counter(value for batch in batches for value in batch) == dict.fromkeys(range(5), 2)
    assert list(buffer) == []


def test_rows_that_were_there_before() -> None:
    """Rows that the storage was made with can be drawn, and a storage may have no limit."""
    sampler = ConsumingSampler()
    buffer = ReplayBuffer(storage=TensorStorage(torch.arange(4)), sampler=sampler)
    assert sorted(buffer.sample(4).tolist()) == [0, 1, 2, 3]
    buffer = ReplayBuffer(storage=ListStorage(None), sampler=ConsumingSampler())
    buffer.extend(list(torch.arange(200)))
    assert sorted(buffer.sample(200).tolist()) == list(range(200))


def test_a_count_below_one_is_refused() -> None:
    """`max_sample_count` must be an integer of at least 1."""
    with pytest.raises(ValueError, match="max_sample_count"):
        ConsumingSampler(0)


@given(st.integers(1, 3), st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_draws_are_taken_back(limit: int, sizes: list[int], keep: int) -> None:
    """After draws are taken back, the same generator gives the same batches again, to the last row."""
    sampler, generator = ConsumingSampler(limit), torch.Generator().manual_seed(0)
    buffer = ReplayBuffer(storage=LazyTensorStorage(9), sampler=sampler, generator=generator)
    buffer.extend(torch.arange(9))

    def draw() -> list[list[int]]:
        return [buffer.sample(size).tolist() for size in sizes[keep:] if size <= sampler.available]

    for size in sizes[:keep]:
        if sampler.available:
            buffer.sample(min(size, sampler.available))
    mark, state = sampler.mark(), generator.get_state()
    first = draw()
    sampler.rewind(mark)
    generator.set_state(state)
    assert draw() == first


def test_rows_of_one_batch_do_not_overwrite_each_other() -> None:
    """In a full ring, a batch that takes the room of the row that the ring comes to next goes on after it."""
    found = set()
    for seed in range(12):
        buffer = _buffer(ConsumingSampler(), 3, seed)
        buffer.extend(torch.arange(3))
        (consumed,) = buffer.sample(1).tolist()
        found.add(consumed)
        following = next(place for place in range(3) if place != consumed)
        assert buffer.extend(torch.tensor([7, 8])).tolist() == [consumed, following]
        assert len(buffer) == 3
        assert buffer.add(torch.tensor(9)) == following + 1
    assert 0 in found
