"""Helpers for trajectories."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from rl_buffers import (
    LazyTensorStorage,
    SliceSampler,
    TensorDictReplayBuffer,
    find_start_stop_traj,
    split_trajectories,
)


def _batch(done: list[list[int]]) -> TensorDict:
    """A batch `[N, T]` whose `number` counts the steps of the whole batch."""
    flags = torch.tensor(done, dtype=torch.bool).unsqueeze(-1)
    number = torch.arange(flags.numel()).reshape(flags.shape)
    return TensorDict({"number": number, "next": {"done": flags}}, batch_size=flags.shape[:2])


def test_starts_and_stops_by_hand() -> None:
    """Rows 1 and 4 end trajectories of a ring of 6: what follows row 4 goes on in row 0 when the ring is full."""
    end = torch.tensor([0, 1, 0, 0, 1, 0], dtype=torch.bool)
    start, stop, length = find_start_stop_traj(end=end, at_capacity=True)
    assert (start.tolist(), stop.tolist(), length.tolist()) == ([[5], [2]], [[1], [4]], [3, 3])
    start, stop, length = find_start_stop_traj(end=end, at_capacity=False)
    assert (start.tolist(), stop.tolist(), length.tolist()) == ([[0], [2], [5]], [[1], [4], [5]], [2, 3, 1])
    start, stop, length = find_start_stop_traj(end=end, at_capacity=True, cursor=range(2, 4))
    assert (start.tolist(), stop.tolist(), length.tolist()) == ([[5], [2], [4]], [[1], [3], [4]], [3, 2, 1])


def test_starts_and_stops_by_ids() -> None:
    """Ids end a trajectory where they change; each element of `B` is a sequence of its own."""
    ids = torch.tensor([[7, 1], [7, 1], [7, 2], [8, 2]])
    start, stop, length = find_start_stop_traj(trajectory=ids, at_capacity=False)
    assert start.tolist() == [[0, 0], [3, 0], [0, 1], [2, 1]]
    assert stop.tolist() == [[2, 0], [3, 0], [1, 1], [3, 1]]
    assert length.tolist() == [3, 1, 2, 2]
    assert find_start_stop_traj(trajectory=torch.ones(4), at_capacity=True)[2].tolist() == [4]
    with pytest.raises(ValueError, match="either trajectory or end"):
        find_start_stop_traj(at_capacity=True)


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.booleans(), st.none() | st.integers(0, 8))
@settings(max_examples=100, deadline=None)
def test_starts_and_stops_cover_each_row_once(flags: list[bool], is_full: bool, cursor: int | None) -> None:
    """Trajectories cover all rows, each once, have ends at their last rows and nowhere else."""
    count = len(flags)
    cursor = None if cursor is None else cursor % count
    found = find_start_stop_traj(end=torch.tensor(flags), at_capacity=is_full, cursor=cursor)
    rows = []
    ends = {row for row, flag in enumerate(flags) if flag} | ({cursor} if cursor is not None else set())
    ends |= set() if is_full and ends else {count - 1}
    for start, stop, length in zip(found[0][:, 0].tolist(), found[1][:, 0].tolist(), found[2].tolist(), strict=True):
        own = [(start + step) % count for step in range(length)]
        assert own[-1] == stop
        assert [row for row in own if row in ends] == [stop]
        rows += own
    assert sorted(rows) == list(range(count))


def test_slices_side_by_side() -> None:
    """Slices of a batch, of different lengths, are told apart by the flag that the sampler sets."""
    sampler = SliceSampler(slice_len=4, strict_length=False)
    generator = torch.Generator().manual_seed(0)
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(20), sampler=sampler, generator=generator)
    buffer.extend(_batch([[0, 1, 0, 0, 0, 0, 0, 0, 0, 1]]).reshape(-1))
    out = split_trajectories(buffer.sample(40), done_key="truncated")
    assert out.shape == (10, 4)
    assert set(out["mask"].sum(-1).tolist()) == {2, 4}
    for row in out:
        number = row["number"][row["mask"]].flatten()
        assert (number.diff() == 1).all()
