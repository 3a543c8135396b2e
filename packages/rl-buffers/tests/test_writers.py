"""Writers."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_buffers import LazyTensorStorage, ListStorage, ReplayBuffer, RoundRobinWriter


@given(st.integers(1, 12), st.lists(st.integers(0, 30), max_size=8), st.booleans())
@settings(max_examples=60, deadline=None)
def test_extend_equals_adding_row_by_row(size: int, counts: list[int], is_list: bool) -> None:
    """A ring filled by batches of any size holds what one filled row by row holds, in the same places."""
    batched = ReplayBuffer(storage=ListStorage(size) if is_list else LazyTensorStorage(size))
    single = ReplayBuffer(storage=ListStorage(size) if is_list else LazyTensorStorage(size))
    start = 0
    for count in counts:
        rows = torch.arange(start, start + count)
        places = [single.add(row) for row in rows]
        assert batched.extend(rows).tolist() == places[-size:]
        start += count
    assert len(batched) == len(single) == min(start, size)
    if start:
        assert batched[:].tolist() == single[:].tolist()


def test_batch_larger_than_the_storage_keeps_the_last_rows() -> None:
    """Of twelve rows in a ring of five the last five stay, where single writes would have put them."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(5), writer=RoundRobinWriter())
    assert buffer.extend(torch.arange(12)).tolist() == [2, 3, 4, 0, 1]
    assert buffer[:].tolist() == [10, 11, 7, 8, 9]
    assert buffer.add(torch.tensor(99)) == 2


def test_an_empty_batch_writes_nothing() -> None:
    """A batch of no rows is accepted and changes nothing."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(5))
    assert buffer.extend(torch.zeros(0, 3)).tolist() == []
    assert len(buffer) == 0
    assert buffer.extend(torch.zeros(2, 3)).tolist() == [0, 1]
