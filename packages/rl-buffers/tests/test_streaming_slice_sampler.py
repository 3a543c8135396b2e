"""Windows of what is new."""

from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from rl_buffers import LazyTensorStorage, StreamingSliceSampler, TensorDictReplayBuffer


def _rows(start: int, flags: list[bool]) -> TensorDict:
    done = torch.tensor(flags, dtype=torch.bool).view(-1, 1)
    return TensorDict({"number": torch.arange(start, start + len(flags)), "next": {"done": done}}, [len(flags)])


def _buffer(size: int, length: int, **keys: Any) -> TensorDictReplayBuffer:
    sampler = StreamingSliceSampler(slice_len=length, **keys)
    generator = torch.Generator().manual_seed(0)
    return TensorDictReplayBuffer(storage=LazyTensorStorage(size), sampler=sampler, generator=generator)


def test_windows_come_once_and_in_order() -> None:
    """Two episodes of 7 and 5 steps give the windows 0-2, 3-5, 7-9, in order, and then slices of all that is stored."""
    buffer = _buffer(20, 3)
    flags = [number in (6, 11) for number in range(12)]
    buffer.extend(_rows(0, flags))
    batch = buffer.sample(6)
    assert batch["number"].tolist() == [0, 1, 2, 3, 4, 5]
    assert batch["next", "truncated"].squeeze(1).tolist() == [False, False, True] * 2
    assert buffer.sample(6)["number"][:3].tolist() == [7, 8, 9]
    starts = set(buffer.sample(600)["number"][::3].tolist())
    assert starts == {0, 1, 2, 3, 4, 7, 8, 9}


def test_windows_grow_over_batches() -> None:
    """A window may begin in one batch and be completed in a later one, row by row as well."""
    buffer = _buffer(20, 3)
    buffer.extend(_rows(0, [False] * 4))
    assert buffer.sample(3)["number"].tolist() == [0, 1, 2]
    buffer.add(_rows(4, [False])[0])
    buffer.sample(3)
    buffer.add(_rows(5, [False])[0])
    assert buffer.sample(3)["number"].tolist() == [3, 4, 5]


@given(
    st.integers(4, 15),
    st.integers(1, 4),
    st.lists(st.tuples(st.lists(st.booleans(), min_size=1, max_size=9), st.integers(0, 3)), min_size=1, max_size=8),
    st.booleans(),
)
@example(size=10, length=2, batches=[([False] * 3, 1), ([False], 0), ([False] * 9, 1)], is_saved=False)
@settings(max_examples=80, deadline=None)
def test_windows_are_those_of_a_loop(
    size: int, length: int, batches: list[tuple[list[bool], int]], is_saved: bool
) -> None:
    """Whatever is written and drawn in between, the windows that come are those of a loop, none with a lost step."""
    buffer = _buffer(size, length)
    queue: list[int] = []
    written: list[bool] = []
    begin = seen = 0
    for flags, draws in batches:
        buffer.extend(_rows(len(written), flags))
        written += flags
        if is_saved:
            other = _buffer(size, length)
            other.load_state_dict(buffer.state_dict())
            buffer = other
        for _ in range(draws):
            found, after = _windows(written, seen, max(begin, len(written) - size), length)
            found = [first for first in queue + found if first >= len(written) - size]
            if found:
                assert buffer.sample(length)["number"].tolist() == list(range(found[0], found[0] + length))
                queue, begin, seen = found[1:], after, len(written)


def _windows(written: list[bool], seen: int, begin: int, length: int) -> tuple[list[int], int]:
    """Windows completed by the steps from `seen` on, by a loop, and where the next one begins."""
    found = []
    for number in range(max(seen, begin), len(written)):
        if number - begin + 1 == length:
            found.append(begin)
            begin = number + 1
        if written[number]:
            begin = number + 1
    return found, begin


def test_an_end_put_into_a_window_takes_it_out() -> None:
    """A window in which a row is replaced by the last step of an episode is not drawn."""
    buffer = _buffer(20, 3)
    buffer.extend(_rows(0, [False] * 6))
    assert buffer.sample(3)["number"].tolist() == [0, 1, 2]
    buffer[4] = _rows(50, [True])[0]
    starts = {buffer.sample(3)["number"][0].item() for _ in range(40)}
    assert starts == {0, 1, 2}


def test_ids_and_errors() -> None:
    """Ids tell trajectories apart too; the length is checked, and nothing long enough is an error."""
    buffer = _buffer(20, 2, traj_key="id")
    rows = _rows(0, [False] * 6).set("id", torch.tensor([0, 0, 0, 1, 1, 1]))
    buffer.extend(rows)
    assert buffer.sample(4)["number"].tolist() == [0, 1, 3, 4]
    with pytest.raises(ValueError, match="slice_len"):
        StreamingSliceSampler(slice_len=0)
    buffer = _buffer(20, 4)
    buffer.extend(_rows(0, [True] * 6))
    with pytest.raises(RuntimeError, match="StreamingSliceSampler: no stored trajectory"):
        buffer.sample(4)


def test_emptying_forgets_windows() -> None:
    """After `empty`, only windows of what is written then come."""
    buffer = _buffer(20, 2)
    buffer.extend(_rows(0, [False] * 8))
    buffer.sample(2)
    buffer.empty()
    buffer.extend(_rows(30, [False] * 4))
    assert buffer.sample(4)["number"].tolist() == [30, 31, 32, 33]
