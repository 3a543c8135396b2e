"""Rows that are drawn a limited number of times."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_buffers import ConsumingSampler, LazyTensorStorage, ListStorage, ReplayBuffer, TensorStorage


def _buffer(sampler: ConsumingSampler, size: int = 10, seed: int = 0) -> ReplayBuffer:
    generator = torch.Generator().manual_seed(seed)
    return ReplayBuffer(storage=LazyTensorStorage(size), sampler=sampler, batch_size=3, generator=generator)


def test_rows_are_drawn_once() -> None:
    """Of 4 rows, 3 are drawn, then the one left; a batch of more is refused."""
    sampler = ConsumingSampler()
    buffer = ReplayBuffer(storage=ListStorage(10), sampler=sampler, batch_size=3)
    buffer.extend([torch.tensor(number) for number in range(4)])
    first = buffer.sample()
    assert sampler.available == 1
    assert not sampler.can_sample(buffer.storage, 2)
    with pytest.raises(ValueError, match=r"batch of 3 rows.*at most the 1 rows that are not consumed"):
        buffer.sample()
    assert sorted([*first.tolist(), *buffer.sample(1).tolist()]) == [0, 1, 2, 3]


@given(
    st.integers(1, 8),
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from(["extend", "add", "sample", "save", "set", "empty"]), st.integers(1, 6))),
)
@settings(max_examples=80, deadline=None)
def test_counts_are_those_of_a_loop(size: int, limit: int, actions: list[tuple[str, int]]) -> None:
    """Whatever is written and drawn, no row is drawn too often, and what is left is what a loop counts."""
    sampler = ConsumingSampler(limit)
    buffer = _buffer(sampler, size)
    drawn: Counter[int] = Counter()
    stored: list[int] = []
    total = 0
    for action, count in actions:
        if action in ("extend", "add"):
            count = 1 if action == "add" else count
            values = torch.arange(total, total + count)
            _ = buffer.extend(values) if action == "extend" else buffer.add(values[0])
            for value in values.tolist():
                stored[value % size : value % size + 1] = [value]
            total += count
        elif action == "sample" and stored:
            left = [value for value in stored if drawn[value] < limit]
            assert sampler.available == len(left)
            if count <= len(left):
                batch = buffer.sample(count).tolist()
                assert set(batch) <= set(left)
                assert len(set(batch)) == count
                drawn.update(batch)
        elif action == "save":
            sampler = ConsumingSampler(limit)
            other = _buffer(sampler, size, seed=5)
            other.load_state_dict(buffer.state_dict())
            buffer = other
        elif action == "set" and stored:
            row = count % len(stored)
            buffer[row] = torch.tensor(stored[row])
        elif action == "empty":
            buffer.empty()
            stored, total = [], 0
            drawn.clear()


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
