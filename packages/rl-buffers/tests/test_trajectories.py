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
    iter_trajectories,
    split_trajectories,
)
from rl_specs import MissingKeyError, ShapeError


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


def test_trajectories_one_after_another() -> None:
    """Pieces are views of the batch, cut by ids where there are such, and else by any flag of an end."""
    data = _batch([[0, 1, 0, 0, 1, 0]]).reshape(-1)
    assert [piece["number"].flatten().tolist() for piece in iter_trajectories(data)] == [[0, 1], [2, 3, 4], [5]]
    data["next", "truncated"] = torch.tensor([0, 0, 1, 0, 0, 0]).bool().view(6, 1)
    assert [len(piece) for piece in iter_trajectories(data)] == [2, 1, 2, 1]
    data["episode"] = torch.tensor([0, 0, 0, 0, 1, 1])
    assert [len(piece) for piece in iter_trajectories(data)] == [4, 2]
    data["other"] = torch.tensor([0, 1, 1, 1, 1, 1])
    pieces = list(iter_trajectories(data, "other"))
    assert [len(piece) for piece in pieces] == [1, 5]
    pieces[0]["number"].fill_(50)
    assert data["number"][0] == 50
    assert list(iter_trajectories(data[:0])) == []


def test_trajectories_side_by_side() -> None:
    """Without ids each row of the batch is cut after its flags, padded with zeros, and the mask tells real steps."""
    out = split_trajectories(_batch([[0, 1, 0, 0], [0, 0, 0, 1]]))
    assert out["number"].squeeze(-1).tolist() == [[0, 1, 0, 0], [2, 3, 0, 0], [4, 5, 6, 7]]
    assert out["mask"].sum(-1).tolist() == [2, 2, 4]
    assert out.names == [None, "time"]
    data = _batch([[0, 0, 0, 0]])
    data["collector", "traj_ids"] = torch.tensor([[5, 5, 5, 9]])
    out = split_trajectories(data)
    assert out["number"].squeeze(-1).tolist() == [[0, 1, 2], [3, 0, 0]]
    assert out["collector", "mask"].sum(-1).tolist() == [3, 1]
    data["a", "id"] = torch.tensor([[0, 0, 1, 1]])
    assert split_trajectories(data, trajectory_key=("a", "id"))["a", "mask"].sum(-1).tolist() == [2, 2]


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


def test_what_is_missing_is_named() -> None:
    """A batch that says nothing of its trajectories, or has no dimension of time, is refused."""
    data = TensorDict({"a": torch.zeros(2, 3)}, batch_size=[2, 3])
    with pytest.raises(MissingKeyError, match="split_trajectories"):
        split_trajectories(data)
    with pytest.raises(MissingKeyError, match="trajectory_key"):
        split_trajectories(data, trajectory_key="id")
    with pytest.raises(MissingKeyError, match="iter_trajectories"):
        list(iter_trajectories(data.reshape(-1)))
    with pytest.raises(ShapeError, match="Flatten it"):
        list(iter_trajectories(data))


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3), ()])
def test_a_batch_without_steps_has_no_trajectories_to_split(shape: tuple[int, ...]) -> None:
    """A batch of no steps cannot be padded to the longest of its trajectories, and is refused by name."""
    done = torch.zeros(*shape, 1, dtype=torch.bool)
    with pytest.raises(ShapeError, match=r"split_trajectories: the batch has no step\. Expected at least one step"):
        split_trajectories(TensorDict({"next": {"done": done}}, shape))
