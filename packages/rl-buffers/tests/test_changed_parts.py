"""Parts of a buffer exchanged for others."""

from pathlib import Path

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from rl_buffers import (
    HERReplayBuffer,
    ImmutableDatasetWriter,
    LazyMemmapStorage,
    LazyTensorStorage,
    ListStorage,
    PrioritizedSampler,
    RandomSampler,
    ReplayBuffer,
    RoundRobinWriter,
    SamplerWithoutReplacement,
    TensorDictMaxValueWriter,
    TensorDictReplayBuffer,
    TensorDictRoundRobinWriter,
    TensorStorage,
)

SIZE = 5


def _buffer(prefetch: int | None = None) -> ReplayBuffer:
    generator = torch.Generator().manual_seed(0)
    return ReplayBuffer(storage=LazyTensorStorage(SIZE), batch_size=SIZE, generator=generator, prefetch=prefetch)


@pytest.mark.parametrize("prefetch", [None, 2])
def test_another_sampler_knows_the_rows_that_are_there(prefetch: int | None) -> None:
    """After `set_sampler` batches are those of the new one, over all rows; the old one comes back."""
    buffer = _buffer(prefetch)
    old = buffer.sampler
    buffer.extend(torch.arange(7))
    buffer.sample()
    buffer.sample()
    assert buffer.set_sampler(SamplerWithoutReplacement()) is old
    assert sorted(buffer.sample().tolist()) == [2, 3, 4, 5, 6]
    sampler = PrioritizedSampler(SIZE, 1.0, 1.0, eps=0.0)
    buffer.set_sampler(sampler)
    buffer.update_priority(torch.arange(SIZE), torch.tensor([0.0, 0.0, 0.0, 3.0, 0.0]))
    assert buffer.sample().tolist() == [3] * SIZE
    buffer.add(torch.tensor(7))
    assert sampler.leaves.tolist() == [0.0, 0.0, 3.0, 3.0, 0.0]
    buffer.close()


def test_a_ring_goes_on_under_another_writer() -> None:
    """Another ring overwrites the row that the last one would have; one by rank ranks the rows that are there."""
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(SIZE))
    buffer.extend(TensorDict({"a": torch.arange(7.0)}, [7]))
    old = buffer.set_writer(RoundRobinWriter())
    assert isinstance(old, RoundRobinWriter)
    assert buffer.extend(TensorDict({"a": torch.tensor([7.0])}, [1])).tolist() == [2]
    buffer.set_writer(TensorDictMaxValueWriter(rank_key="a"))
    assert buffer.extend(TensorDict({"a": torch.tensor([3.5, 1.0])}, [2])).tolist() == [3]
    assert sorted(buffer[:]["a"].tolist()) == [3.5, 4.0, 5.0, 6.0, 7.0]


def test_another_storage_brings_its_rows() -> None:
    """After `set_storage` rows are those of the new one and the ring begins after them; the old one keeps its own."""
    buffer = _buffer()
    buffer.extend(torch.arange(7))
    old = buffer.set_storage(TensorStorage(torch.arange(10, 12), max_size=3))
    assert len(old) == SIZE
    assert set(buffer.sample().tolist()) <= {10, 11}
    assert buffer.extend(torch.arange(20, 22)).tolist() == [2, 0]
    assert buffer[:].tolist() == [21, 11, 20]
    buffer.set_storage(ListStorage(4), collate_fn=lambda rows: rows)
    buffer.extend(["x"])
    assert buffer.sample(2) == ["x", "x"]
    immutable = ReplayBuffer(storage=TensorStorage(torch.arange(3)), writer=ImmutableDatasetWriter())
    immutable.set_storage(TensorStorage(torch.arange(30, 34)))
    assert immutable[:].tolist() == [30, 31, 32, 33]


def test_storages_in_files_are_exchanged_with_their_ring(tmp_path: Path) -> None:
    """From memory to named files and back, rows and the place of the next one are those of the storage."""
    first = ReplayBuffer(storage=LazyMemmapStorage(SIZE, scratch_dir=tmp_path, shared_init=True))
    first.extend(torch.arange(7))
    buffer = _buffer()
    buffer.extend(torch.arange(50, 53))
    memory = buffer.set_storage(LazyMemmapStorage(SIZE, scratch_dir=tmp_path, shared_init=True))
    assert buffer[:].tolist() == [5, 6, 2, 3, 4]
    assert buffer.add(torch.tensor(7)) == 2
    first.add(torch.tensor(8))
    assert sorted(buffer[:].tolist()) == [4, 5, 6, 7, 8]
    buffer.set_sampler(SamplerWithoutReplacement())
    assert sorted(buffer.sample().tolist()) == [4, 5, 6, 7, 8]
    buffer.set_storage(memory)
    assert buffer.extend(torch.arange(60, 62)).tolist() == [3, 4]
    assert buffer[:].tolist() == [50, 51, 52, 60, 61]


def _reward(achieved: Tensor, desired: Tensor, batch: TensorDictBase) -> Tensor:
    return desired


def test_what_does_not_go_together_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    """Objects of another kind and parts that do not fit are refused; the buffer goes on as it was."""
    buffer = _buffer(prefetch=2)
    buffer.extend(torch.arange(7))
    wrong: list[tuple[str, object]] = [("sampler", RoundRobinWriter()), ("writer", None), ("storage", 3)]
    for name, part in wrong:
        with pytest.raises(TypeError, match=rf"{name}\. Expected an instance of {name.title()}"):
            getattr(buffer, f"set_{name}")(part)
    shared = LazyMemmapStorage(SIZE, scratch_dir=tmp_path, shared_init=True)
    with pytest.raises(ValueError, match="prefetch on a storage that other processes write to"):
        buffer.set_storage(shared)
    ranked = TensorDictReplayBuffer(storage=LazyTensorStorage(SIZE), writer=TensorDictMaxValueWriter())
    with pytest.raises(ValueError, match="a writer whose state is a place in a ring"):
        ranked.set_storage(shared)
    assert buffer.add(torch.tensor(7)) == 2
    hindsight = HERReplayBuffer(reward_fn=_reward)
    for change, part in (("sampler", RandomSampler()), ("writer", TensorDictRoundRobinWriter())):
        with pytest.raises(TypeError, match=f"the {change} cannot be exchanged"):
            getattr(hindsight, f"set_{change}")(part)
    buffer.close()
