"""Writers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from rl_buffers import (
    FlatStorageCheckpointer,
    ImmutableDatasetWriter,
    LazyMemmapStorage,
    LazyTensorStorage,
    ListStorage,
    ReplayBuffer,
    RoundRobinWriter,
    TensorDictReplayBuffer,
    TensorDictRoundRobinWriter,
    TensorStorage,
)
from rl_specs import SpecError


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


def _steps(first: int, count: int, *lead: int) -> TensorDict:
    numbers = torch.arange(first, first + count).view(-1, *[1] * len(lead))
    return TensorDict({"a": numbers.expand(count, *lead)}, [count, *lead])


@pytest.mark.parametrize("kind", [ReplayBuffer, TensorDictReplayBuffer])
@pytest.mark.parametrize("lead", [(), (2,)])
def test_rows_carry_their_numbers(kind: Any, lead: tuple[int, ...]) -> None:
    """Rows of a numbered ring hold "index", through extend, add, seam, larger batches and replacement in place."""
    buffer = kind(storage=LazyTensorStorage(5), writer=TensorDictRoundRobinWriter(), batch_size=4)
    buffer.extend(_steps(0, 4, *lead))
    buffer.add(_steps(4, 1, *lead)[0])
    buffer.add(_steps(5, 1, *lead)[0])
    buffer.extend(_steps(6, 13, *lead))
    buffer[1] = _steps(50, 1, *lead)[0]
    buffer[2:4] = _steps(60, 2, *lead)
    buffer[[4, 0]] = _steps(70, 2, *lead)
    numbers = torch.arange(5).view(-1, *[1] * len(lead)).expand(5, *lead)
    assert torch.equal(buffer[:]["index"], numbers)
    assert buffer[3]["index"].tolist() == numbers[3].tolist()
    plain = ReplayBuffer(storage=LazyTensorStorage(5), writer=RoundRobinWriter())
    for first, count in ((0, 4), (4, 1), (5, 1), (6, 13)):
        plain.extend(_steps(first, count, *lead))
    assert torch.equal(plain[:]["a"][2:4] * 0 + 60 + torch.arange(2).view(-1, *[1] * len(lead)), buffer[2:4]["a"])
    batch = buffer.sample()
    assert torch.equal(batch["a"], buffer[batch["index"].reshape(4, -1)[:, 0]]["a"])


@pytest.mark.parametrize("kind", [ReplayBuffer, TensorDictReplayBuffer])
def test_rows_of_lanes_carry_their_numbers(kind: Any) -> None:
    """Of sequences side by side each row holds its own number, before and after the seam, however it was written."""
    buffer = kind(storage=LazyTensorStorage(13, ndim=3), writer=TensorDictRoundRobinWriter(), batch_size=9)

    def grid(first: int, steps: int) -> TensorDict:
        lanes = torch.arange(6).view(3, 2, 1) * 100
        return TensorDict({"a": (lanes + torch.arange(first, first + steps)).unsqueeze(-1)}, [3, 2, steps])

    def check(expected: list[int]) -> None:
        stored = buffer[:]
        assert torch.equal(stored["index"].flatten(0, 1).T.flatten(), torch.arange(len(buffer)))
        assert stored["a"][0, 0, :, 0].tolist() == expected
        batch = buffer.sample()
        assert torch.equal(batch["a"], buffer[batch["index"]]["a"])

    data = grid(0, 1)
    assert buffer.extend(data).tolist() == list(range(6))
    assert "index" not in data
    check([0])
    buffer.extend(grid(1, 4))
    check([4, 3])
    assert buffer.add(grid(5, 1)[..., 0]) == 11
    check([4, 5])
    buffer.extend([grid(6, 1)[..., 0], grid(7, 1)[..., 0], grid(8, 1)[..., 0]])
    check([8, 7])
    buffer[:] = grid(20, 2)
    check([20, 21])
    buffer[:] = [grid(30, 1)[..., 0], grid(31, 1)[..., 0]]
    check([30, 31])
    buffer[1] = grid(40, 1)[0, 0, 0]
    buffer[[7, 2]] = grid(50, 2)[0, 0]
    buffer[3:5] = grid(60, 2)[0, 0]
    assert buffer[:]["a"].flatten(0, 2).squeeze(-1).tolist() == [30, 31, 40, 50, 51, 231, 60, 331, 61, 431, 530, 531]
    check([30, 31])
    with pytest.raises(SpecError, match="number of rows"):
        buffer[0:2] = grid(0, 3)[0, 0]
    with pytest.raises(SpecError, match="batch dimensions before time"):
        buffer.extend(grid(0, 1)[:, :1])
    with pytest.raises(SpecError, match="1 to 2 sequences"):
        kind(storage=LazyTensorStorage(2, ndim=3), writer=TensorDictRoundRobinWriter()).extend(grid(0, 2))
    with pytest.raises(SpecError, match="too few batch dimensions"):
        kind(storage=LazyTensorStorage(2, ndim=3), writer=TensorDictRoundRobinWriter()).extend(grid(0, 2)[0, 0])


def test_numbers_need_a_tensordict() -> None:
    """Other data are refused, and the data given are left as they are."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(5), writer=TensorDictRoundRobinWriter())
    with pytest.raises(TypeError, match="Use RoundRobinWriter"):
        buffer.extend(torch.zeros(3))
    rows = _steps(0, 2)
    buffer.extend(rows)
    assert "index" not in rows
    assert buffer.extend([_steps(7, 1)[0], _steps(8, 1)[0]]).tolist() == [2, 3]
    assert buffer[3]["index"].item() == 3


def test_an_immutable_data_set_stays_as_it_is() -> None:
    """It is sampled; extend, add, replacement and empty are refused with what to do, and change nothing."""
    buffer = ReplayBuffer(storage=TensorStorage(torch.arange(4)), writer=ImmutableDatasetWriter(), batch_size=4)
    for write in (
        lambda: buffer.extend(torch.arange(2)),
        lambda: buffer.add(torch.tensor(1)),
        lambda: buffer.__setitem__(0, torch.tensor(9)),
        buffer.empty,
    ):
        with pytest.raises(RuntimeError, match=r"immutable.*RoundRobinWriter"):
            write()
    assert buffer[:].tolist() == [0, 1, 2, 3]
    assert set(buffer.sample().tolist()) <= {0, 1, 2, 3}
    other = ReplayBuffer(storage=TensorStorage(torch.zeros(4, dtype=torch.int64)), writer=ImmutableDatasetWriter())
    other.load_state_dict(buffer.state_dict())
    assert other[:].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", [None, FlatStorageCheckpointer])
def test_a_load_does_not_write_rows_that_an_immutable_data_set_has(kind: Any, tmp_path: Path) -> None:
    """A checkpoint of a data set is loaded without a write to its files, which other programs may be reading; rows that
    are others take the place of those that there are.
    """
    rows = TensorDict({"x": torch.tensor([1.0, torch.nan, 3.0])}, [3])
    TensorDictReplayBuffer(storage=LazyMemmapStorage(3, scratch_dir=tmp_path / "set")).extend(rows)
    storage = LazyMemmapStorage(3, scratch_dir=tmp_path / "set", existsok=True)
    generator = torch.Generator().manual_seed(0)
    buffer = TensorDictReplayBuffer(
        storage=storage, writer=ImmutableDatasetWriter(), generator=generator, checkpointer=kind, batch_size=2
    )
    buffer.dumps(tmp_path / "save")
    states = [buffer.state_dict(), buffer.sample()["index"].tolist()]
    assert storage.ring is not None
    before = storage.ring.clears
    buffer.loads(tmp_path / "save")
    assert buffer.sample()["index"].tolist() == states[1]
    buffer.load_state_dict(states[0])
    assert buffer.sample()["index"].tolist() == states[1]
    assert storage.ring.clears == before
    other = TensorDictReplayBuffer(
        storage=TensorStorage(rows.apply(torch.zeros_like)),
        writer=ImmutableDatasetWriter(),
        generator=torch.Generator(),
    )
    other.loads(tmp_path / "save")
    assert other[:]["x"].isnan().tolist() == [False, True, False]


def test_a_ring_goes_on_after_the_rows_given() -> None:
    """Around a storage that holds three of five rows, the next row is the fourth."""
    buffer = ReplayBuffer(storage=TensorStorage(torch.arange(3), max_size=5))
    assert buffer.add(torch.tensor(3)) == 3
    assert buffer.extend(torch.arange(4, 6)).tolist() == [4, 0]
    assert buffer.write_count == 3
