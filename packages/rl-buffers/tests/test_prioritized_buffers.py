"""Buffers that draw in proportion to priorities."""

import threading
from collections.abc import Callable

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from rl_buffers import (
    LazyTensorStorage,
    ListStorage,
    PrioritizedReplayBuffer,
    PrioritizedSampler,
    PrioritizedSliceSampler,
    RandomSampler,
    RankPrioritizedSampler,
    Sampler,
    TensorDictPrioritizedReplayBuffer,
    TensorDictReplayBuffer,
    TensorStorage,
)
from rl_specs import MissingKeyError


def _rows(count: int, **entries: torch.Tensor) -> TensorDict:
    return TensorDict({"a": torch.arange(count), **entries}, batch_size=[count])


def _leaves(buffer: TensorDictPrioritizedReplayBuffer | TensorDictReplayBuffer) -> list[float]:
    leaves: torch.Tensor = buffer.sampler.state_dict()["leaves"]
    return leaves.tolist()


def _buffer(capacity: int = 8) -> TensorDictPrioritizedReplayBuffer:
    return TensorDictPrioritizedReplayBuffer(
        alpha=1.0,
        beta=0.5,
        eps=0.0,
        storage=LazyTensorStorage(capacity),
        generator=torch.Generator().manual_seed(0),
        batch_size=4,
    )


def test_rows_of_any_kind() -> None:
    """A buffer of Python objects with the default storage: add, sample, update, also of a row that is not there."""
    buffer = PrioritizedReplayBuffer(alpha=0.7, beta=1.1, collate_fn=lambda rows: rows)
    buffer.add(1)
    assert buffer.sample(1) == [1]
    buffer.update_priority(1, 0.5)
    buffer.extend([2, 3])
    buffer.update_priority([0, 1, 2], [0.0, 0.0, 1.0])
    assert buffer.sample(5) == [3] * 5
    assert isinstance(buffer.storage, ListStorage)


def test_priorities_written_to_a_batch() -> None:
    """A batch has weights; with priorities written to it, `update_tensordict_priority` sets those of its rows."""
    buffer = _buffer()
    buffer.extend(_rows(4))
    batch = buffer.sample()
    assert batch["index"].tolist() == batch["a"].tolist() == [0, 1, 2, 3]
    assert batch["_weight"].tolist() == [1.0] * 4
    batch["td_error"] = torch.tensor([[1.0], [2.0], [0.0], [4.0]])
    buffer.update_tensordict_priority(batch)
    assert _leaves(buffer) == [1.0, 2.0, 0.0, 4.0]
    buffer.update_tensordict_priority(batch[:0])
    buffer.update_tensordict_priority(batch[1:2].apply(lambda entry: entry + 0))
    assert buffer.sample(7)["a"].tolist() == [0, 1, 1, 3, 3, 3, 3]


def test_rows_overwritten_since_the_batch_keep_their_priority() -> None:
    """Of a batch, rows overwritten by `extend` since it was drawn keep the priority with which they entered."""
    buffer = _buffer(4)
    buffer.extend(_rows(4))
    batch = buffer.sample()
    buffer.extend(_rows(2))
    batch["td_error"] = torch.full((4,), 3.0)
    buffer.update_tensordict_priority(batch)
    assert _leaves(buffer) == [1.0, 1.0, 3.0, 3.0]


@pytest.mark.parametrize(
    "sampler",
    [
        PrioritizedSampler(4, 1.0, 0.5),
        RankPrioritizedSampler(4, 1.0, 0.5),
        PrioritizedSliceSampler(4, 1.0, 0.5, slice_len=1, traj_key="a"),
    ],
)
def test_rows_that_were_there_before_take_priorities(sampler: Sampler) -> None:
    """Rows that the storage was made with can be given priorities before the first draw."""
    buffer = TensorDictReplayBuffer(storage=TensorStorage(_rows(4)), sampler=sampler)
    buffer.update_priority(torch.arange(4), torch.tensor([1e-9, 2e9, 1e-9, 1e-9]))
    assert (buffer.sample(2)["a"] == 1).any()
    state = sampler.state_dict()
    assert state.get("priorities", state)["leaves"].tolist() == pytest.approx([0.0, 2e9, 0.0, 0.0], abs=1e-7)


def test_a_batch_can_be_stored_again() -> None:
    """Index, weight and stamp of a batch are not stored."""
    buffer = _buffer()
    buffer.extend(_rows(4))
    buffer.extend(buffer.sample())
    buffer.add(buffer.sample()[0])
    buffer[0] = buffer.sample()[1]
    assert set(buffer[:].keys()) == {"a", "index"}


def test_rows_stored_with_priorities() -> None:
    """Rows that `extend`, `add` or `buffer[...]` store with priorities enter with these, around the seam too."""
    buffer = _buffer(4)
    buffer.extend(_rows(3, td_error=torch.tensor([3.0, 1.0, 2.0])))
    assert _leaves(buffer) == [3.0, 1.0, 2.0]
    buffer.extend(_rows(6, td_error=torch.arange(6.0)))
    assert _leaves(buffer) == [5.0, 2.0, 3.0, 4.0]
    buffer.add(_rows(1, td_error=torch.tensor([9.0]))[0])
    assert _leaves(buffer) == [5.0, 9.0, 3.0, 4.0]
    buffer[0] = _rows(1, td_error=torch.tensor([7.0]))[0]
    buffer[torch.tensor([3, 1])] = _rows(2, td_error=torch.tensor([6.0, 8.0]))
    buffer[2:3] = _rows(1, td_error=torch.tensor([0.5]))
    assert _leaves(buffer) == [7.0, 8.0, 0.5, 6.0]


def test_rows_with_bad_priorities_are_not_stored() -> None:
    """A priority that is none refuses the whole batch: nothing is written."""
    buffer = _buffer()
    buffer.extend(_rows(2, td_error=torch.tensor([3.0, 1.0])))
    with pytest.raises(ValueError, match=r"found -1.0 at 1"):
        buffer.extend(_rows(2, td_error=torch.tensor([3.0, -1.0])))
    with pytest.raises(ValueError, match=r"found nan at 0"):
        buffer.add(_rows(1, td_error=torch.tensor([float("nan")]))[0])
    with pytest.raises(ValueError, match=r"found inf at 0"):
        buffer[0] = _rows(1, td_error=torch.tensor([float("inf")]))[0]
    assert (len(buffer), _leaves(buffer)) == (2, [3.0, 1.0])


def test_nested_key_and_trajectories_as_rows() -> None:
    """A nested entry holds the priorities; of rows that are trajectories the largest counts."""
    key = ("loss", "error")
    buffer = TensorDictPrioritizedReplayBuffer(
        alpha=1.0, beta=1.0, eps=0.0, priority_key=key, storage=LazyTensorStorage(4), batch_size=2
    )
    buffer.extend(TensorDict({"a": torch.arange(6).view(2, 3)}, batch_size=[2, 3]))
    batch = buffer.sample()
    assert batch["index"].tolist() == [[0, 0, 0], [1, 1, 1]]
    assert batch["_weight"].shape == batch["_stamp"].shape == (2, 3)
    batch[key] = torch.tensor([[1.0, 5.0, 2.0], [4.0, 0.0, 3.0]])
    buffer.update_tensordict_priority(batch)
    assert _leaves(buffer) == [5.0, 4.0]
    assert buffer.priority_key == key


def test_missing_entries() -> None:
    """Without priorities or without an index in the batch, the error names the entry and what there is."""
    buffer = _buffer()
    buffer.extend(_rows(4))
    batch = buffer.sample()
    with pytest.raises(MissingKeyError, match=r'priority: key "td_error" missing.*"_stamp", "_weight", "a"'):
        buffer.update_tensordict_priority(batch)
    with pytest.raises(MissingKeyError, match='key "index" missing'):
        buffer.update_tensordict_priority(_rows(4, td_error=torch.ones(4)))


def test_plain_buffer_with_a_prioritized_sampler() -> None:
    """A `TensorDictReplayBuffer` given the sampler does the same; with another sampler the entry is data."""
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(4), sampler=PrioritizedSampler(4, 1.0, 1.0, eps=0.0), priority_key="error"
    )
    buffer.extend(_rows(2, error=torch.tensor([1.0, 2.0])))
    assert _leaves(buffer) == [1.0, 2.0]
    batch = buffer.sample(2)
    batch["error"] = torch.tensor([4.0, 5.0])[batch["index"]]
    buffer.update_tensordict_priority(batch)
    assert set(_leaves(buffer)) <= {4.0, 5.0, 1.0}
    plain = TensorDictReplayBuffer(storage=LazyTensorStorage(4))
    plain.extend(_rows(2, td_error=torch.tensor([-1.0, 2.0])))
    with pytest.raises(TypeError, match="RandomSampler: the sampler keeps no priorities"):
        plain.update_tensordict_priority(plain.sample(2))


def test_other_samplers() -> None:
    """A sampler given takes the place of the one described, and must keep priorities."""
    sampler = PrioritizedSampler(8, 0.5, 0.5)
    buffer = PrioritizedReplayBuffer(alpha=1.0, beta=1.0, storage=LazyTensorStorage(8), sampler=sampler)
    assert buffer.sampler is sampler
    with pytest.raises(TypeError, match=r"PrioritizedReplayBuffer: sampler. Expected a sampler that keeps priorities"):
        PrioritizedReplayBuffer(alpha=1.0, beta=1.0, sampler=RandomSampler())


def test_storage_without_a_limit() -> None:
    """Priorities need a capacity: that of the storage, or of a sampler given, which says when it is full."""
    with pytest.raises(ValueError, match=r"the storage has no limit.*Give the storage a max_size, or sampler="):
        PrioritizedReplayBuffer(alpha=1.0, beta=1.0, storage=ListStorage())
    sampler = PrioritizedSampler(3, 1.0, 1.0)
    buffer = PrioritizedReplayBuffer(alpha=1.0, beta=1.0, storage=ListStorage(), sampler=sampler)
    buffer.extend([1, 2, 3])
    assert set(buffer.sample(6).tolist()) == {1, 2, 3}
    with pytest.raises(ValueError, match=r"smaller than the storage\. Expected at least 4, found 3"):
        buffer.add(4)


def test_transforms_see_weights() -> None:
    """Transforms get the batch with index and weight, and their result is what `sample` returns."""
    seen = []

    def look(batch: TensorDictBase) -> TensorDictBase:
        seen.append(set(batch.keys()))
        return batch.set("b", batch["_weight"] * 2)

    buffer = TensorDictPrioritizedReplayBuffer(alpha=1.0, beta=1.0, storage=LazyTensorStorage(4), transform=look)
    buffer.extend(_rows(3))
    assert buffer.sample(2)["b"].tolist() == [2.0, 2.0]
    assert seen == [{"a", "index", "_weight", "_stamp"}]


def test_dumps_and_loads(tmp_path: object) -> None:
    """A buffer saved to a folder goes on with the same batches."""
    path = str(tmp_path)
    buffer, other = _buffer(), _buffer()
    buffer.extend(_rows(11))
    batch = buffer.sample()
    batch["td_error"] = torch.rand(4, generator=torch.Generator().manual_seed(2))
    buffer.update_tensordict_priority(batch)
    buffer.dumps(path)
    other.loads(path)
    for _ in range(3):
        one, two = buffer.sample(5), other.sample(5)
        assert all(torch.equal(one[key], two[key]) for key in ("a", "index", "_weight", "_stamp"))


def test_threads() -> None:
    """Writes, draws and updates from several threads leave batches whole, and sums those of the leaves."""
    buffer = TensorDictPrioritizedReplayBuffer(
        alpha=0.6, beta=0.4, storage=LazyTensorStorage(500), generator=torch.Generator().manual_seed(0), batch_size=32
    )
    buffer.extend(_rows(500, b=torch.arange(500) * 3))
    faults: list[BaseException] = []

    def write() -> None:
        for first in range(0, 6000, 30):
            numbers = torch.arange(first, first + 30)
            buffer.extend(TensorDict({"a": numbers, "b": numbers * 3}, batch_size=[30]))

    def learn() -> None:
        for _ in range(200):
            batch = buffer.sample()
            assert torch.equal(batch["b"], batch["a"] * 3)
            batch["td_error"] = batch["a"] % 7 + 0.1
            buffer.update_tensordict_priority(batch)

    def caught(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=caught, args=(work,)) for work in (write, write, learn, learn)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    fresh = PrioritizedSampler(500, 0.6, 0.4)
    fresh.load_state_dict(buffer.sampler.state_dict())
    assert isinstance(buffer.sampler, PrioritizedSampler)
    assert buffer.sampler.max_priority == fresh.max_priority
    assert buffer.sampler._sum_tree.total == fresh._sum_tree.total


def test_priorities_that_are_stored_may_be_left_alone() -> None:
    """With `update_priority=False` rows enter with the largest priority, whatever their entry says."""
    buffer = TensorDictPrioritizedReplayBuffer(alpha=1.0, beta=1.0, eps=0.0, storage=LazyTensorStorage(4))
    rows = TensorDict({"a": torch.arange(2), "td_error": torch.tensor([3.0, 5.0])}, [2])
    buffer.extend(rows)
    buffer.extend(rows, update_priority=False)
    sampler = buffer.sampler
    assert isinstance(sampler, PrioritizedSampler)
    assert sampler.leaves.tolist() == [3.0, 5.0, 5.0, 5.0]
