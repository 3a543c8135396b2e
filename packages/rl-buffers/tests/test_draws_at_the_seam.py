"""How often rows are drawn after the ring went round: shares by hand or by a loop, told apart by chi-square."""

from collections.abc import Callable
from math import sqrt
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_buffers import (
    ConsumingSampler,
    LazyTensorStorage,
    PrioritizedSampler,
    PrioritizedSliceSampler,
    RandomSampler,
    RankPrioritizedSampler,
    Sampler,
    SamplerWithoutReplacement,
    SliceSampler,
    SliceSamplerWithoutReplacement,
    StalenessAwareSampler,
    StreamingSliceSampler,
    TensorDictReplayBuffer,
)

SIZE = 24
WRITTEN = [24, 25, 47, 61]
"""Rows written in all: up to the last row, one more, and on into the second and third round."""
LENGTH = 3


def _rows(first: int, count: int) -> TensorDict:
    """Trajectories of seven steps; ten rows have a version."""
    number = torch.arange(first, first + count)
    done = number.view(-1, 1) % 7 == 6
    return TensorDict({"a": number, "version": number // 10, "next": {"done": done}}, [count])


def _buffer(written: int, sampler: Sampler, ndim: int = 1) -> TensorDictReplayBuffer:
    """Filled five rows at a time, so that a batch lies across the seam, and drawn from meanwhile."""
    storage = LazyTensorStorage(SIZE, ndim=ndim)
    generator = torch.Generator().manual_seed(written)
    buffer = TensorDictReplayBuffer(storage=storage, sampler=sampler, generator=generator)
    for first in range(0, written, 5):
        rows = _rows(first, min(5, written - first))
        buffer.extend(rows if ndim == 1 else rows.expand(2, len(rows)))
        if first > 10:
            buffer.sample(LENGTH)
    return buffer


def _trajectories(written: int) -> list[list[int]]:
    """Rows of what is stored of each trajectory, in the order of time."""
    found: list[list[int]] = [[]]
    for value in range(written - SIZE, written):
        found[-1].append(value % SIZE)
        if value % 7 == 6:
            found.append([])
    return [rows for rows in found if rows]


def _starts(written: int, *, are_even: bool = False) -> torch.Tensor:
    """How likely each row is to be the first of a slice: by trajectory and place in it, or all alike."""
    shares = torch.zeros(SIZE, dtype=torch.float64)
    for rows in _trajectories(written):
        places = rows[: len(rows) - LENGTH + 1] if len(rows) >= LENGTH else []
        shares[places] = 1.0 if are_even else 1.0 / max(len(places), 1)
    return shares


def _assert_shares(drawn: torch.Tensor, shares: torch.Tensor) -> None:
    """Rows of no share are never drawn; the chi-square of the others is below its 99.99 % quantile (Wilson and
    Hilferty's approximation of it).
    """
    counts = torch.bincount(drawn.flatten(), minlength=len(shares)).double()
    assert counts[shares == 0.0].sum() == 0
    expected = (shares / shares.sum() * counts.sum())[shares > 0.0]
    assert expected.min() > 20
    chi_square = ((counts[shares > 0.0] - expected) ** 2 / expected).sum()
    degrees = len(expected) - 1
    assert chi_square < degrees * (1 - 2 / (9 * degrees) + 3.719 * sqrt(2 / (9 * degrees))) ** 3


def _again(buffer: TensorDictReplayBuffer, batch_size: int, times: int) -> torch.Tensor:
    """Rows of batches, each drawn from the same state of the sampler."""
    state = buffer.sampler.state_dict()
    drawn = []
    for _ in range(times):
        buffer.sampler.load_state_dict(state)
        drawn.append(buffer.sample(batch_size)["index"])
    return torch.stack(drawn)


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("make", [RandomSampler, lambda: PrioritizedSampler(SIZE, 0.0, 0.5)])
def test_rows_are_equally_likely(written: int, make: Callable[[], Sampler]) -> None:
    """After any number of rows each of those stored has the same share of single draws."""
    buffer = _buffer(written, make())
    _assert_shares(torch.cat([buffer.sample(1)["index"] for _ in range(1200)]), torch.ones(SIZE))


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("make", [SamplerWithoutReplacement, lambda: ConsumingSampler(99)])
def test_rows_are_equally_likely_to_come_first(written: int, make: Callable[[], Sampler]) -> None:
    """Of a pass, each row stored is as likely as the others in the first batch."""
    buffer = _buffer(written, make())
    buffer.sampler.clear()
    buffer.sampler.extend(buffer.storage, torch.arange(SIZE))
    _assert_shares(_again(buffer, 5, 300), torch.ones(SIZE))


def test_lanes_are_equally_likely() -> None:
    """With two lanes of twelve steps each row has the same share, whichever lane it is in."""
    buffer = _buffer(17, RandomSampler(), ndim=2)
    assert len(buffer) == SIZE
    _assert_shares(buffer.sample(2400)["index"], torch.ones(SIZE))


@pytest.mark.parametrize("written", WRITTEN)
def test_rows_have_the_shares_of_their_priorities(written: int) -> None:
    """Rows that were overwritten have the largest priority that the others had, and the others keep theirs."""
    buffer = _buffer(written, PrioritizedSampler(SIZE, 0.7, 0.5))
    priority = torch.arange(10.0, SIZE + 10.0, dtype=torch.float64)
    buffer.update_priority(torch.arange(SIZE), priority)
    buffer.extend(_rows(written, 4))
    new = torch.arange(written, written + 4) % SIZE
    priority[new] = 0.0
    priority[new] = priority.max()
    _assert_shares(torch.cat([buffer.sample(1)["index"] for _ in range(1500)]), priority**0.7)


@pytest.mark.parametrize("written", WRITTEN)
def test_rows_have_the_shares_of_their_ranks(written: int) -> None:
    """Ranks are those of the priorities after the ring went round: shares 1, 1/2, 1/3 and so on."""
    buffer = _buffer(written, RankPrioritizedSampler(SIZE, 1.0, 0.5))
    buffer.update_priority(torch.arange(SIZE), torch.arange(1.0, SIZE + 1.0))
    buffer.extend(_rows(written, 4))
    new = torch.arange(written, written + 4) % SIZE
    buffer.update_priority(new, torch.tensor([0.1, 0.2, 100.0, 0.3]))
    order = [new[2], *(row for row in reversed(range(SIZE)) if row not in new.tolist()), new[3], new[1], new[0]]
    shares = torch.zeros(SIZE, dtype=torch.float64)
    shares[torch.tensor(order)] = 1.0 / torch.arange(1.0, SIZE + 1.0, dtype=torch.float64)
    _assert_shares(torch.cat([buffer.sample(1)["index"] for _ in range(2200)]), shares)


@pytest.mark.parametrize("written", WRITTEN)
def test_rows_have_the_shares_of_their_versions(written: int) -> None:
    """A row that is s versions behind has a share of 1 / (s + 1), none beyond two, wherever the ring begins."""
    sampler = StalenessAwareSampler(version_key="version")
    buffer = _buffer(written, sampler)
    sampler.consumer_version, sampler.max_staleness = written // 10, 2
    behind = written // 10 - buffer[:]["version"]
    shares = torch.where(behind <= 2, 1.0 / (behind.double() + 1.0), 0.0)
    _assert_shares(buffer.sample(4800)["index"], shares)


SLICES: dict[str, Any] = {
    "trajectories": lambda: SliceSampler(slice_len=LENGTH),
    "starts": lambda: SliceSampler(slice_len=LENGTH, uniform_over="starts"),
    "streaming": lambda: StreamingSliceSampler(slice_len=LENGTH),
}


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("name", SLICES)
def test_slices_begin_where_they_may(written: int, name: str) -> None:
    """Each trajectory that is left, or each place in all of them, is as likely as the others to hold a slice."""
    buffer = _buffer(written, SLICES[name]())
    buffer.sample(LENGTH * 20)  # what waits to be streamed
    index = buffer.sample(LENGTH * 4800)["index"].view(-1, LENGTH)
    assert (index[:, 1:] == (index[:, :-1] + 1) % SIZE).all()
    _assert_shares(index[:, 0], _starts(written, are_even=name == "starts"))


@pytest.mark.parametrize("written", WRITTEN)
def test_slices_of_a_pass_begin_anywhere(written: int) -> None:
    """The place of the slice in its trajectory is drawn anew in each pass, and the first trajectory too."""
    buffer = _buffer(written, SliceSamplerWithoutReplacement(slice_len=LENGTH))
    buffer.sampler.restart()
    _assert_shares(_again(buffer, LENGTH, 1200)[:, 0], _starts(written))


@pytest.mark.parametrize("written", WRITTEN)
def test_slices_begin_by_priority(written: int) -> None:
    """Among the rows in which a slice may begin, each has the share of its priority."""
    buffer = _buffer(written, PrioritizedSliceSampler(SIZE, 1.0, 0.5, slice_len=LENGTH))
    priority = torch.arange(10.0, SIZE + 10.0, dtype=torch.float64)
    buffer.update_priority(torch.arange(SIZE), priority)
    index = torch.stack([buffer.sample(LENGTH)["index"] for _ in range(900)])
    _assert_shares(index[:, 0], priority * (_starts(written) > 0))


def test_slices_of_lanes_begin_where_they_may() -> None:
    """With two lanes of twelve steps slices begin anywhere but in the last two steps, and before the end of the 14."""
    buffer = _buffer(17, SliceSampler(slice_len=LENGTH, uniform_over="starts"), ndim=2)
    shares = torch.zeros(SIZE)
    for step in (7, 8, 9, 10, 11, 14):  # of 5 to 16, where 6 and 13 end a trajectory
        shares[[step % 12 * 2, step % 12 * 2 + 1]] = 1.0
    _assert_shares(buffer.sample(LENGTH * 2400)["index"][::LENGTH], shares)
