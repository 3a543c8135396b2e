"""Several buffers sampled together."""

import copy
import errno
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from rl_buffers import (
    FlatStorageCheckpointer,
    LazyMemmapStorage,
    LazyTensorStorage,
    ListStorage,
    RandomSampler,
    ReplayBuffer,
    ReplayBufferEnsemble,
    RoundRobinWriter,
    SamplerEnsemble,
    SamplerWithoutReplacement,
    StorageEnsemble,
    TensorDictReplayBuffer,
    WriterEnsemble,
)
from rl_specs import SpecError


def _rows(first: int, count: int) -> TensorDict:
    return TensorDict({"a": torch.arange(first, first + count), "in": {"b": torch.zeros(count, 3)}}, [count])


def _member(seed: int) -> TensorDictReplayBuffer:
    generator = torch.Generator().manual_seed(seed)
    return TensorDictReplayBuffer(storage=LazyTensorStorage(10), generator=generator)


def _ensemble(**options: Any) -> ReplayBufferEnsemble:
    """Member i holds the numbers from 100 i on."""
    options.setdefault("generator", torch.Generator().manual_seed(7))
    ensemble = ReplayBufferEnsemble(_member(0), _member(1), **options)
    for number in range(2):
        ensemble[number].extend(_rows(100 * number, 10))
    return ensemble


def test_parts_of_a_batch_are_stacked() -> None:
    """Ten rows of two buffers come as [2, 5], with the buffer and the row of each number."""
    ensemble = _ensemble(batch_size=10)
    for _ in range(20):
        batch, info = ensemble.sample(return_info=True)
        assert batch.shape == (2, 5)
        assert batch["in", "b"].shape == (2, 5, 3)
        ids = info["index"]["buffer_ids"]
        assert torch.equal(batch["a"], 100 * ids.view(2, 1) + info["index"]["index"])
        assert torch.equal(batch["index"], info["index"]["index"])
    assert len(ensemble) == 20
    assert ensemble.write_count == 20


def test_every_buffer_is_drawn_from_if_asked() -> None:
    """With `sample_from_all` part i comes from buffer i."""
    ensemble = _ensemble(sample_from_all=True)
    for _ in range(5):
        assert (ensemble.sample(6)["a"] // 100).tolist() == [[0] * 3, [1] * 3]


def test_buffers_are_drawn_at_their_probabilities() -> None:
    """With weights 1 and 3 the second of two buffers is drawn from in three of four parts (within four deviations)."""
    ensemble = _ensemble(p=[1, 3], num_buffer_sampled=4000)
    ids = ensemble.sample(4000)["a"] // 100
    assert 2890 < ids.sum().item() < 3110
    only = _ensemble(p=torch.tensor([0.0, 1.0]), num_buffer_sampled=1)
    assert only.sample(8).shape == (1, 8)
    only[0].empty()
    assert (only.sample(8)["a"] >= 100).all()


def test_members_may_be_made_of_parts() -> None:
    """Storages with transforms, samplers and writers give the members; transforms of the whole come last."""
    storages = StorageEnsemble(
        LazyTensorStorage(10), LazyTensorStorage(10), transforms=[lambda batch: batch * 2, lambda batch: batch]
    )
    samplers = SamplerEnsemble(RandomSampler(), SamplerWithoutReplacement(), sample_from_all=True)
    writers = WriterEnsemble(RoundRobinWriter(), RoundRobinWriter())
    ensemble = ReplayBufferEnsemble(
        storages=storages, samplers=samplers, writers=writers, transform=lambda batch: batch + 1, batch_size=20
    )
    ensemble[0].extend(torch.arange(10))
    ensemble[1].extend(torch.arange(10))
    batch = ensemble.sample()
    assert (batch[0] % 2 == 1).all()
    assert batch[1].sort().values.tolist() == list(range(1, 11))
    assert storages.sizes == [10, 10]
    assert ensemble.storages[1] is storages[1]
    assert ensemble.writers[0] is writers[0]


def test_the_ensemble_is_not_written_to() -> None:
    """`extend` and `add`, of the ensemble and of its writers, say which call writes."""
    ensemble = _ensemble()
    for write in (ensemble.extend, ensemble.add, ensemble.writers.extend, ensemble.writers.add):
        with pytest.raises(RuntimeError, match=r"ensemble\[0\]\.extend"):
            write(_rows(0, 2))


def test_a_checkpoint_restores_all_members(tmp_path: Path) -> None:
    """After loading, batches are those of the ensemble that was saved; one that does not fit changes nothing."""
    module = nn.BatchNorm1d(3)
    ensemble = _ensemble(batch_size=4).append_transform(lambda batch: batch).insert_transform(0, _Norm(module))
    other = _ensemble(batch_size=4, generator=torch.Generator()).append_transform(_Norm(nn.BatchNorm1d(3)))
    nn.init.uniform_(module.weight)
    other[0].extend(_rows(500, 3))
    ensemble.sample()
    ensemble.dumps(tmp_path)
    other.loads(tmp_path)
    for _ in range(4):
        assert (ensemble.sample() == other.sample()).all()
    with pytest.raises(SpecError, match="choice of buffers"):
        _ensemble(sample_from_all=True).append_transform(_Norm(nn.BatchNorm1d(3))).loads(tmp_path)
    small = ReplayBufferEnsemble(
        _member(0), TensorDictReplayBuffer(storage=LazyTensorStorage(3)), generator=torch.Generator()
    ).append_transform(_Norm(nn.BatchNorm1d(3)))
    small[0].extend(_rows(700, 2))
    with pytest.raises(SpecError, match="capacity"):
        small.loads(tmp_path)
    assert small[0][:]["a"].tolist() == [700, 701]


class _Norm(nn.Module):
    """A transform with a state."""

    def __init__(self, norm: nn.BatchNorm1d) -> None:
        super().__init__()
        self.norm = norm.eval()

    def forward(self, batch: TensorDict) -> TensorDict:
        """Scale an entry."""
        return batch.set(("in", "b"), self.norm(batch["in", "b"].flatten(0, 1)).detach().view(2, 2, 3))


def test_what_cannot_be_drawn_says_so() -> None:
    """Empty members, sizes that do not divide, rows that differ and wrong arguments each say what to do."""
    ensemble = _ensemble()
    with pytest.raises(ValueError, match="multiple of the 2 buffers"):
        ensemble.sample(5)
    with pytest.raises(ValueError, match="batch size is not known"):
        ensemble.sample()
    ensemble[1].empty()
    with pytest.raises(RuntimeError, match="buffers 1 are empty"):
        ensemble.sample(4)
    mixed = ReplayBufferEnsemble(_member(0), _member(1), sample_from_all=True)
    mixed[0].extend(_rows(0, 4))
    mixed[1].extend(TensorDict({"c": torch.zeros(4)}, [4]))
    with pytest.raises(SpecError, match=r"different entries.*collate_fn"):
        mixed.sample(4)
    with pytest.raises(ValueError, match="p says nothing"):
        _ensemble(p=[1, 1], sample_from_all=True)
    with pytest.raises(ValueError, match="2 numbers >= 0"):
        _ensemble(p=[1, -1])
    with pytest.raises(TypeError, match="Did you mean num_buffer_sampled"):
        _ensemble(num_buffers_sampled=1)
    with pytest.raises(ValueError, match="storages, samplers and writers"):
        ReplayBufferEnsemble(storages=StorageEnsemble(LazyTensorStorage(2)))
    with pytest.raises(ValueError, match="either buffers"):
        ReplayBufferEnsemble()
    with pytest.raises(TypeError, match="instance of Sampler"):
        SamplerEnsemble(LazyTensorStorage(3))  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(TypeError, match="replay buffers"):
        ReplayBufferEnsemble(_member(0), 3)  # type: ignore[arg-type]  # wrong on purpose


def test_a_collate_function_gets_the_parts() -> None:
    """`collate_fn` makes one batch of the list of parts."""
    ensemble = ReplayBufferEnsemble(
        ReplayBuffer(storage=LazyTensorStorage(4)),
        ReplayBuffer(storage=LazyTensorStorage(4)),
        sample_from_all=True,
        collate_fn=torch.cat,
    )
    ensemble[0].extend(torch.zeros(4))
    ensemble[1].extend(torch.ones(4))
    assert ensemble.sample(6).tolist() == [0, 0, 0, 1, 1, 1]
    assert ensemble.next is not None
    assert next(iter(_ensemble(batch_size=4))).shape == (2, 2)


def test_saves_follow_one_another(tmp_path: Path) -> None:
    """Saves of an ensemble in the background end in the order in which they began; the last one is there in the end."""
    ensemble = ReplayBufferEnsemble(*(ReplayBuffer(storage=LazyTensorStorage(4)) for _ in range(2)), batch_size=2)
    for number in range(10):
        for buffer in (ensemble[0], ensemble[1]):
            buffer.extend(torch.full((4,), number))
        saving = ensemble.dumps_in_background(tmp_path)
    ensemble[0].empty()
    assert saving.copied_rows == 0  # none were overwritten before they were saved
    ensemble.loads(tmp_path)
    assert ensemble[0][:].tolist() == ensemble[1][:].tolist() == [9] * 4


def _files(folder: Path) -> dict[str, int]:
    """When each file of rows below a folder was written, by its path there."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != "buffer.pt"]
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in found}


def test_members_are_saved_by_their_storages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of each member are files of its storage's format, after its hooks. A second save writes what changed;
    one that fails leaves the first, and no files of its own.
    """

    def built() -> ReplayBufferEnsemble:
        flat = LazyTensorStorage(4, checkpointer=FlatStorageCheckpointer())
        flat.register_save_hook(lambda rows, path: rows + 1)
        flat.register_load_hook(lambda rows, path: rows - 1)
        storages = [LazyTensorStorage(4), flat, ListStorage(4)]
        generator = torch.Generator().manual_seed(0)
        return ReplayBufferEnsemble(*(ReplayBuffer(storage=storage) for storage in storages), generator=generator)

    ensemble, other = built(), built()
    for number in range(3):
        ensemble[number].extend(torch.full((4,), number))
    ensemble.dumps(tmp_path)
    first = _files(tmp_path)
    assert {name.split("/")[1] for name in first} == {"0", "1"}  # rows of the list are in the file of the checkpoint
    assert any(name.endswith(".npy") for name in first)
    ensemble[1].add(torch.tensor(7))
    with monkeypatch.context() as patch:
        patch.setattr("rl_buffers._folder.write_manifest", _no_room)
        with pytest.raises(OSError, match="what was saved there before is whole"):
            ensemble.dumps(tmp_path)
    assert _files(tmp_path) == first
    other.loads(tmp_path)
    assert [other[number][:].tolist() for number in range(3)] == [[0] * 4, [1] * 4, [2] * 4]
    ensemble.dumps_in_background(tmp_path).wait()
    second = _files(tmp_path)
    assert [name for name in second if first.get(name) == second[name]] == [name for name in first if "/0/" in name]
    other.loads(tmp_path)
    assert other[1][:].tolist() == [7, 1, 1, 1]
    damaged = tmp_path / next(name for name in second if "/1/" in name)
    damaged.write_bytes(b"nothing")
    other[0].extend(torch.full((4,), 9))
    with pytest.raises(SpecError, match="is damaged"):
        other.loads(tmp_path)
    assert other[0][:].tolist() == [9] * 4
    ReplayBuffer(storage=ListStorage(4)).dumps(tmp_path)
    assert _files(tmp_path) == {}


def _no_room(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_load_that_fails_halfway_leaves_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the rows of a member find no room, no member is left with those of a checkpoint, or with some of them."""
    ensemble, other = (
        ReplayBufferEnsemble(*(ReplayBuffer(storage=LazyMemmapStorage(4)) for _ in range(2))) for _ in range(2)
    )
    for number in range(2):
        ensemble[number].extend(torch.arange(4))
    ensemble.dumps(tmp_path)
    calls: list[int] = []

    def full(descriptor: int, offset: int, size: int) -> None:
        calls.append(size)
        if len(calls) > 1:
            _no_room()

    monkeypatch.setattr("rl_buffers._mapped_files._take_blocks", full)
    with pytest.raises(OSError, match="no room for"):
        other.loads(tmp_path)
    assert len(other[0]) == len(other[1]) == 0


@pytest.mark.parametrize("prefetch", [None, 2])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda ensemble: pickle.loads(pickle.dumps(ensemble))])
def test_copies_go_on_alike_and_apart(copied: Callable[[Any], Any], prefetch: int | None) -> None:
    """A copy gives the batches that the ensemble would have given, from buffers of its own."""
    ensemble = _ensemble(batch_size=6, prefetch=prefetch)
    ensemble.sample()
    other = copied(ensemble)
    for _ in range(3):
        assert torch.equal(ensemble.sample()["a"], other.sample()["a"])
    if prefetch:
        with pytest.raises(ValueError, match="makes its batches ahead"):
            other[0].set_sampler(RandomSampler())
    other[0].empty()
    assert (len(ensemble[0]), len(other[0])) == (10, 0)
    for each in (ensemble, other):
        each.close()
