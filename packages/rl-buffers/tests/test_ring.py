"""Numbers of the steps that were written."""

import torch

from rl_buffers import LazyTensorStorage, ListStorage, ReplayBuffer
from rl_buffers._ring import Ring, distinct


def _storage(length: int, size: int = 5) -> ListStorage:
    storage = ListStorage(size)
    storage.write(slice(0, length), storage.check(torch.zeros(length), "test"))
    return storage


def test_steps_are_numbered_round_the_ring() -> None:
    """After 7 steps in a ring of 5 the steps 2 to 6 are stored, step 5 in row 0, and step 7 is expected in row 2."""
    ring = Ring()
    ring.extend(_storage(3), torch.arange(3))
    ring.extend(_storage(5), torch.tensor([3, 4, 0]))
    generation = ring.generation
    ring.add(_storage(5), 1)
    assert (ring.start, ring.stop, ring.generation) == (2, 7, generation)
    assert ring.rows_of(torch.arange(2, 7)).tolist() == [2, 3, 4, 0, 1]
    assert ring.rows(2, 5) == slice(2, 5)
    rows = ring.rows(3, 7)
    assert isinstance(rows, torch.Tensor)
    assert rows.tolist() == [3, 4, 0, 1]
    assert ring.cuts().tolist() == []


def test_rows_that_nobody_told_of_end_where_writing_goes_on() -> None:
    """Three rows that were there before are steps 0 to 2, and what is written after them does not follow."""
    ring = Ring()
    ring.follow(_storage(3))
    ring.extend(_storage(5), torch.tensor([3, 4]))
    assert (ring.start, ring.stop) == (0, 5)
    assert ring.cuts().tolist() == [2]


def test_runs_end_where_they_are_said_to() -> None:
    """What was written after the last row of a run does not follow it, until that row is overwritten; whichever way
    rows are written afterwards.
    """
    ring = Ring()
    ring.extend(_storage(5), torch.tensor([0, 1, 2, 3, 4]))
    ring.extend(_storage(5), torch.tensor([0, 1]))  # steps 2 to 6
    generation = ring.generation
    ring.part(torch.tensor([3, 0]))
    assert ring.generation != generation
    assert ring.cuts().tolist() == [3, 5]
    ring.add(_storage(5), 2)
    ring.add(_storage(5), 3)
    assert ring.cuts().tolist() == [5]
    ring.part(torch.tensor([3]))
    assert ring.cuts().tolist() == [5, 8]
    ring.extend(_storage(5), torch.tensor([0, 1, 4]))  # elsewhere: 2 and 3 are left of what was there
    assert ring.cuts().tolist() == [1, 3]  # row 1 is followed by row 4 in time; row 3 ended a run
    ring.extend(_storage(5), torch.tensor([2, 3]))
    ring.part(torch.tensor([2]))
    assert ring.cuts().tolist() == [1, 2, 3]


def test_runs_of_several_lanes_end_in_all_of_them() -> None:
    """A run ends with a step of every lane, told by the last of its rows, and does so in any order of writing."""
    ring, storage = Ring(), LazyTensorStorage(12, ndim=2)
    ReplayBuffer(storage=storage).extend(torch.zeros(2, 6))
    ring.extend(storage, torch.arange(12))
    ring.part(torch.tensor([3, 7]))
    assert ring.cuts().tolist() == [2, 3, 6, 7]
    ring.extend(storage, torch.tensor([8, 9]))
    assert ring.cuts().tolist() == [2, 3, 6, 7, 8, 9]  # 8 and 9 were written last, 10 and 11 are followed by nothing


def test_rows_written_elsewhere_are_cut_off() -> None:
    """Rows written in another order than that of a ring are followed only by those written right after them."""
    ring = Ring()
    ring.extend(_storage(5), torch.arange(5))
    generation = ring.generation
    ring.extend(_storage(5), torch.tensor([3, 1, 2]))
    assert ring.generation != generation
    assert ring.cuts().tolist() == [0, 2, 3]  # 1 is followed by 2; 4 is the last row


def test_replaced_rows_are_told_once() -> None:
    """Rows replaced in place are steps, each once, and taking them forgets them."""
    ring = Ring()
    ring.extend(_storage(5), torch.arange(5))
    ring.add(_storage(5), 0)
    ring.replace(0)
    ring.replace(slice(0, 2))
    ring.replace(torch.tensor([4]))
    seen = [ring.is_replaced]
    assert ring.take_replaced().tolist() == [1, 4, 5]
    assert [*seen, ring.is_replaced] == [True, False]
    assert distinct(torch.tensor([3, 1, 3])).tolist() == [1, 3]
