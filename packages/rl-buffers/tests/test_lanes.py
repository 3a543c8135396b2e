"""Storages of several sequences side by side."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict
from torch import Tensor

from rl_buffers import LazyMemmapStorage, LazyTensorStorage, ReplayBuffer, TensorDictReplayBuffer, TensorStorage
from rl_specs import SpecError

STORAGES: list[Any] = [LazyTensorStorage, LazyMemmapStorage]


def _grid(lanes: int, start: int, steps: int) -> Tensor:
    """`[lanes, steps]`: time in the ones, lane in the hundreds."""
    return torch.arange(start, start + steps) + 100 * torch.arange(lanes).view(-1, 1)


def _data(lanes: int, start: int, steps: int) -> TensorDict:
    grid = _grid(lanes, start, steps)
    return TensorDict({"a": grid, "in": {"b": grid.double().unsqueeze(-1).repeat(1, 1, 3)}}, [lanes, steps])


@pytest.mark.parametrize("kind", STORAGES)
def test_rows_follow_each_other_in_time_lane_by_lane(kind: Any) -> None:
    """Row `t * lanes + b` is lane `b` at time `t`, and `buffer[:]` gives `[B, T]` back."""
    buffer = TensorDictReplayBuffer(storage=kind(12, ndim=2), batch_size=50)
    index = buffer.extend(_data(3, 0, 2))
    assert index.tolist() == list(range(6))
    assert (buffer.storage.ndim, buffer.storage.lanes, buffer.storage.lane_shape) == (2, 3, (3,))
    everything = buffer[:]
    assert everything.batch_size == (3, 2)
    assert torch.equal(everything["a"], _grid(3, 0, 2))
    assert torch.equal(everything["index"], torch.tensor([[0, 3], [1, 4], [2, 5]]))
    batch = buffer.sample()
    assert batch.batch_size == (50,)
    assert torch.equal(batch["a"], batch["index"] // 3 + 100 * (batch["index"] % 3))
    assert torch.equal(batch["in", "b"][:, 2], batch["a"].double())
    assert torch.equal(buffer[batch["index"]]["a"], batch["a"])


def test_the_ring_runs_in_time() -> None:
    """Old steps are overwritten in all lanes at once; of data longer than the storage the last steps stay."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(8, ndim=2))
    buffer.extend(_grid(2, 0, 3))
    assert buffer.extend(_grid(2, 3, 2)).tolist() == [6, 7, 0, 1]
    assert torch.equal(buffer[:], torch.tensor([[4, 1, 2, 3], [104, 101, 102, 103]]))
    buffer.extend(_grid(2, 10, 9))
    assert sorted(buffer[:][0].tolist()) == [15, 16, 17, 18]


@settings(max_examples=25, deadline=None)
@given(
    lanes=st.integers(1, 4),
    capacity=st.integers(4, 20),
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    has_steps=st.booleans(),
)
def test_any_sequence_of_writes_keeps_the_last_steps(
    lanes: int, capacity: int, counts: list[int], has_steps: bool
) -> None:
    """After writes of any length, by batch or by step, each lane holds its last steps, in a ring of its own."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(capacity, ndim=2))
    kept: dict[int, int] = {}
    size, time = capacity // lanes, 0
    for count in counts:
        grid = _grid(lanes, time, count)
        if has_steps:
            for step in grid.unbind(1):
                buffer.add(step)
        else:
            buffer.extend(grid)
        kept.update({moment % size: moment for moment in range(time, time + count)})
        time += count
    assert len(buffer) == lanes * len(kept)
    if kept:
        expected = torch.tensor([kept[place] for place in range(len(kept))]) + 100 * torch.arange(lanes).view(-1, 1)
        assert torch.equal(buffer[:], expected)


def test_capacity_is_rounded_down_to_whole_steps() -> None:
    """A capacity of 10 rows holds three steps of three lanes, and less than one step is refused."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(10, ndim=2))
    buffer.extend(_grid(3, 0, 5))
    assert (len(buffer), buffer.storage.max_size) == (9, 9)
    with pytest.raises(SpecError, match="1 to 2 sequences, as max_size is 2 rows"):
        ReplayBuffer(storage=LazyTensorStorage(2, ndim=2)).extend(_grid(3, 0, 5))


def test_add_takes_a_step_of_all_lanes() -> None:
    """`add` stores `[B]`, as `extend` does with `[B, T]`; so does a list of steps."""
    by_step, at_once = (ReplayBuffer(storage=LazyTensorStorage(12, ndim=2)) for _ in range(2))
    grid = _grid(3, 0, 6)
    at_once.extend(grid)
    assert [by_step.add(step) for step in grid.unbind(1)] == [2, 5, 8, 11, 2, 5]
    assert torch.equal(by_step[:], at_once[:])
    by_step.extend([grid[:, 0], grid[:, 1]])
    assert torch.equal(by_step[:][:, 2:], grid[:, :2])
    single = ReplayBuffer(storage=LazyTensorStorage(4, ndim=2))
    assert [single.add(torch.tensor([number])) for number in range(3)] == [0, 1, 2]
    assert single[:].tolist() == [[0, 1, 2]]


def test_a_list_of_steps_is_time_last() -> None:
    """A buffer of TensorDicts, and one with a transform that acts on what is stored, stack steps `[B]` to `[B, T]`."""

    class Same:
        """Stores what it is given."""

        def __call__(self, batch: Any) -> Any:
            return batch

        def inv(self, data: Any) -> Any:
            """`data`."""
            return data

    data = _data(3, 0, 3)
    steps = [data[:, step] for step in range(3)]
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(12, ndim=2))
    buffer.extend(steps)
    assert torch.equal(buffer[:]["a"], data["a"])
    buffer[:] = steps[::-1]
    assert torch.equal(buffer[:]["a"], data["a"].flip(1))
    changed = ReplayBuffer(storage=LazyTensorStorage(12, ndim=2), transform=Same())
    changed.extend([{"x": step["a"]} for step in steps])
    assert torch.equal(changed[:]["x"], data["a"])
    with pytest.raises(SpecError, match="dimensions of a step"):
        buffer.extend([step[0] for step in steps])


def test_transforms_that_act_on_stored_data_see_time_last() -> None:
    """A step given to `add` reaches them as `[B, 1]`."""
    shapes = []

    class Doubling:
        """Stores twice the values."""

        def __call__(self, batch: Tensor) -> Tensor:
            return batch

        def inv(self, data: Tensor) -> Tensor:
            """Twice the values."""
            shapes.append(tuple(data.shape))
            return 2 * data

    buffer = ReplayBuffer(storage=LazyTensorStorage(12, ndim=2), transform=Doubling())
    buffer.extend(_grid(3, 0, 2))
    buffer.add(torch.arange(3))
    assert shapes == [(3, 2), (3, 1)]
    assert buffer[:, 2].tolist() == [0, 2, 4]


def test_three_dimensions() -> None:
    """Data `[B1, B2, T, ...]` keep both batch dimensions."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(24, ndim=3))
    data = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    buffer.extend({"x": data})
    assert torch.equal(buffer[:]["x"], data)
    assert buffer.storage.lanes == 6


def test_grid_and_row_indices() -> None:
    """Tuples pick from `[B, T]`; integers, ranges and tensors are row numbers, for reading and writing."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(12, ndim=2))
    buffer.extend(_grid(3, 0, 4))
    assert buffer[1, 2] == 102
    assert buffer[:, 2].tolist() == [2, 102, 202]
    assert buffer[2, 1:3].tolist() == [201, 202]
    assert buffer[4] == 101
    assert buffer[3:5].tolist() == [1, 101]
    buffer[4] = torch.tensor(-1)
    buffer[[0, 5]] = torch.tensor([-2, -3])
    assert buffer[:].tolist() == [[-2, 1, 2, 3], [100, -1, 102, 103], [200, -3, 202, 203]]
    for everything in (slice(None), ...):
        buffer[everything] = _grid(3, 0, 4)
        assert torch.equal(buffer[everything], _grid(3, 0, 4))
    with pytest.raises(IndexError, match=r"rows \[\*B, T\] \[3, 4\]"):
        buffer[3, 0]
    with pytest.raises(IndexError, match="Expected row numbers"):
        buffer[1, 2] = torch.tensor(0)


def test_other_lanes_and_too_few_dimensions_are_refused() -> None:
    """Data of other sequences, or without time, are refused and nothing is written."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(12, ndim=2))
    with pytest.raises(SpecError, match="too few batch dimensions"):
        buffer.extend(torch.zeros(3))
    buffer.extend(_grid(3, 0, 2))
    with pytest.raises(SpecError, match=r"batch dimensions before time.*\[3\].*\[2\]"):
        buffer.extend(_grid(2, 0, 2))
    with pytest.raises(SpecError, match=r"of a step.*\[3\].*\[2\]"):
        buffer.add(torch.zeros(2, dtype=torch.int64))
    assert len(buffer) == 6


def test_states_carry_the_lanes() -> None:
    """A state loads into a fresh storage of the same `ndim`, and is refused by others."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(10, ndim=2))
    buffer.extend(_grid(3, 0, 4))
    other = ReplayBuffer(storage=LazyTensorStorage(10, ndim=2))
    other.load_state_dict(buffer.state_dict())
    assert torch.equal(other[:], buffer[:])
    assert torch.equal(other.extend(_grid(3, 4, 1)), buffer.extend(_grid(3, 4, 1)))
    with pytest.raises(SpecError, match="ndim: expected 1, found 2"):
        ReplayBuffer(storage=LazyTensorStorage(10)).load_state_dict(buffer.state_dict())
    lanes = ReplayBuffer(storage=LazyTensorStorage(10, ndim=2))
    lanes.extend(_grid(2, 0, 1))
    with pytest.raises(SpecError, match=r"lanes: expected \[2\], found \[3\]"):
        lanes.load_state_dict(buffer.state_dict())


def test_a_tensor_storage_starts_with_all_lanes() -> None:
    """`TensorStorage(data, ndim=2)` holds `[B, T]`."""
    storage = TensorStorage(_grid(2, 0, 3), ndim=2)
    assert (len(storage), storage.max_size, storage.lanes) == (6, 6, 2)
    assert torch.equal(ReplayBuffer(storage=storage)[:], _grid(2, 0, 3))
