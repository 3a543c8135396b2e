"""Replay buffers."""

import threading

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from rl_buffers import (
    LazyTensorStorage,
    ListStorage,
    RandomSampler,
    ReplayBuffer,
    SamplerWithoutReplacement,
    Storage,
    TensorDictReplayBuffer,
)
from rl_specs import SpecError


def _steps(n: int, first: int = 0) -> TensorDict:
    observation = torch.arange(first, first + n).float()
    return TensorDict({"observation": observation, "next": {"reward": torch.zeros(n, 1)}}, batch_size=[n])


def test_ppo_with_iteration() -> None:
    """Refilling the buffer with each batch and looping over it several times sees each row once per loop."""
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(64, device=torch.device("cpu")), sampler=SamplerWithoutReplacement(), batch_size=16
    )
    for batch_number in range(2):
        data = _steps(64, 64 * batch_number).reshape(4, 16)
        buffer.extend(data.reshape(-1))
        for _ in range(3):
            seen = torch.cat([batch["observation"] for batch in buffer])
            assert torch.equal(seen.sort().values, torch.arange(64.0) + 64 * batch_number)


def test_ppo_with_sample() -> None:
    """As many calls of `sample` as fill the buffer see each row once."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(max_size=64), sampler=SamplerWithoutReplacement())
    buffer.extend(_steps(64).cpu())
    seen = torch.cat([buffer.sample(16)["observation"] for _ in range(4)])
    assert torch.equal(seen.sort().values, torch.arange(64.0))


def test_tensordict_batches_carry_their_index() -> None:
    """Samples, iterations and slices of a `TensorDictReplayBuffer` have `"index"`; a `ReplayBuffer` adds nothing."""
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(8), batch_size=5)
    buffer.extend(_steps(8))
    batches = [buffer.sample(), next(iter(buffer)), buffer[2:5], buffer[[1, 1]], buffer[-1:]]
    for batch in batches:
        assert batch["index"].dtype is torch.int64
        assert torch.equal(batch["index"].float(), batch["observation"])
    assert "index" not in buffer[0]
    plain = ReplayBuffer(storage=LazyTensorStorage(8), batch_size=5)
    plain.extend(_steps(8))
    batch, info = plain.sample(return_info=True)
    assert "index" not in batch
    assert torch.equal(info["index"].float(), batch["observation"])


def test_a_sample_can_be_stored_again() -> None:
    """The entry `"index"` of a batch is not stored, and the batch itself keeps it."""
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(8))
    buffer.extend(_steps(4))
    batch = buffer.sample(2)
    assert buffer.extend(batch).tolist() == [4, 5]
    assert "index" in batch
    assert buffer[4:6]["index"].tolist() == [4, 5]
    with pytest.raises(TypeError, match="Use ReplayBuffer"):
        buffer.extend(torch.zeros(3))


def test_setitem_overwrites_rows_in_place() -> None:
    """A row, a range, numbers and a mask can be overwritten; the pass under way and the ring go on."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(8), sampler=SamplerWithoutReplacement(shuffle=False))
    buffer.extend(torch.arange(6))
    buffer.sample(2)
    buffer[0] = torch.tensor(10)
    buffer[1:3] = torch.tensor([11, 12])
    buffer[[5, -2]] = torch.tensor([15, 14])
    buffer[torch.tensor([False, False, False, True, False, False])] = torch.tensor([13])
    assert buffer[:].tolist() == [10, 11, 12, 13, 14, 15]
    assert buffer.sample(2).tolist() == [12, 13]
    assert buffer.add(torch.tensor(16)) == 6
    with pytest.raises(SpecError, match=r"number of rows\. Expected 2, found 3"):
        buffer[0:2] = torch.arange(3)
    with pytest.raises(IndexError, match="row 7"):
        buffer[7] = torch.tensor(1)


def test_empty_keeps_the_layout() -> None:
    """After `empty` nothing can be sampled, the ring starts at row 0, and other data are still refused."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(4), sampler=SamplerWithoutReplacement(), batch_size=2)
    buffer.extend(torch.arange(3))
    buffer.sample()
    buffer.empty()
    assert len(buffer) == 0
    with pytest.raises(RuntimeError, match="empty"):
        buffer.sample()
    with pytest.raises(RuntimeError, match="empty"):
        next(iter(buffer))
    with pytest.raises(SpecError, match="int64"):
        buffer.extend(torch.zeros(2))
    assert buffer.extend(torch.arange(5, 7)).tolist() == [0, 1]
    assert sorted(buffer.sample().tolist()) == [5, 6]


def test_transforms_are_applied_in_order() -> None:
    """The collate function comes first, then the transform of the constructor, then those appended."""

    class Double(nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return batch * 2

    buffer = ReplayBuffer(storage=LazyTensorStorage(4), transform=Double(), collate_fn=lambda batch: batch + 1)
    buffer.append_transform(lambda batch: batch - 5)
    buffer.extend(torch.full((4,), 3))
    assert buffer.sample(2).tolist() == [3, 3]
    assert buffer[:2].tolist() == [3, 3]
    assert buffer[0].item() == 3
    with pytest.raises(TypeError, match="callable"):
        buffer.append_transform(3)  # type: ignore[arg-type]  # wrong on purpose


def test_arguments_are_checked() -> None:
    """Parts that are none, impossible batch sizes and unknown arguments are refused; a missing batch size says so."""
    with pytest.raises(TypeError, match="instance of Storage"):
        ReplayBuffer(storage=LazyTensorStorage)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(TypeError, match="instance of Sampler"):
        ReplayBuffer(sampler="random")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(TypeError, match="smapler"):
        ReplayBuffer(smapler=RandomSampler())  # type: ignore[call-arg]  # wrong on purpose
    with pytest.raises(ValueError, match="batch_size"):
        ReplayBuffer(batch_size=0)
    buffer = ReplayBuffer()
    buffer.add(1)
    with pytest.raises(ValueError, match=r"sample\(batch_size\)"):
        buffer.sample()
    with pytest.raises(ValueError, match=r"sample\(batch_size\)"):
        next(iter(buffer))
    with pytest.raises(ValueError, match="batch_size"):
        buffer.sample(-1)


def test_batches_belong_to_the_caller() -> None:
    """A batch does not change when rows are written later."""
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(4), batch_size=4)
    buffer.extend(_steps(4))
    batch, part = buffer.sample(), buffer[0:4]
    before, part_before = batch.clone(), part.clone()
    buffer.extend(_steps(4, 100))
    assert (batch == before).all()
    assert (part == part_before).all()


def test_threads_never_see_half_a_row() -> None:
    """Rows whose entries carry one number are sampled whole while several threads write and empty."""
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(40), batch_size=32)
    stop = threading.Event()
    errors: list[BaseException] = []

    def rows(first: int) -> TensorDict:
        count = torch.arange(first, first + 13)
        return TensorDict({"a": count, "b": count.double().view(-1, 1).expand(-1, 50), "in": {"c": count}}, [13])

    def work(number: int) -> None:
        try:
            first = number * 1_000_000
            while not stop.is_set():
                buffer.extend(rows(first))
                buffer.add(rows(first)[0])
                first += 13
                if number == 0 and first % 50 == 0:
                    buffer.empty()
                    buffer.extend(rows(first))
        except BaseException as error:
            errors.append(error)

    buffer.extend(rows(0))
    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            try:
                batch = buffer.sample()
            except RuntimeError:
                continue
            assert torch.equal(batch["a"], batch["in", "c"])
            assert (batch["b"] == batch["a"].view(-1, 1)).all()
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    assert errors == []


def test_emptying_counts_anew() -> None:
    """`empty` sets the number of rows written back to 0, unless it is told not to."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(4))
    buffer.extend(torch.arange(6))
    buffer.empty(empty_write_count=False)
    assert (len(buffer), buffer.write_count) == (0, 6)
    buffer.extend(torch.arange(2))
    buffer.empty()
    assert (len(buffer), buffer.write_count) == (0, 0)


@pytest.mark.parametrize("storage", [LazyTensorStorage(4), ListStorage(4)])
def test_a_list_of_no_rows_is_nothing_to_store(storage: Storage) -> None:
    """`extend([])` stores nothing and changes nothing, as a batch of no rows does, before and after the first row."""
    buffer = ReplayBuffer(storage=storage)
    for count in (0, 1):
        assert buffer.extend([]).tolist() == []
        assert (len(buffer), buffer.write_count) == (count, count)
        buffer.add(torch.tensor(1))
