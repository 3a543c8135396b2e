"""Every storage with every sampler and writer, in every format: saved and loaded, it goes on as if nothing had been."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_buffers import (
    CompressedListStorage,
    ConsumingSampler,
    FlatStorageCheckpointer,
    H5StorageCheckpointer,
    ImmutableDatasetWriter,
    LazyMemmapStorage,
    LazyStackStorage,
    LazyTensorStorage,
    ListStorage,
    ListStorageCheckpointer,
    NestedStorageCheckpointer,
    PrioritizedSampler,
    PrioritizedSliceSampler,
    RandomSampler,
    RankPrioritizedSampler,
    RoundRobinWriter,
    SamplerWithoutReplacement,
    SliceSampler,
    SliceSamplerWithoutReplacement,
    StalenessAwareSampler,
    StreamingSliceSampler,
    TensorDictMaxValueWriter,
    TensorDictReplayBuffer,
    TensorDictRoundRobinWriter,
    TensorStorage,
    TensorStorageCheckpointer,
)

SIZE = 12
END = ("next", "done")


def _steps(first: int, count: int) -> TensorDict:
    """Steps in the order of time, with an episode's end at every fifth."""
    number = torch.arange(first, first + count)
    done = (number % 5 == 4).view(-1, 1)
    after = {"observation": number.double() + 1, "done": done, "truncated": torch.zeros(count, 1, dtype=torch.bool)}
    data = {
        "observation": number.double(),
        "version": number // 4,
        "rank": number * 7 % 5,
        "next": after,
    }
    return TensorDict(data, [count])


STORAGES: dict[str, Any] = {
    "compressed": lambda: CompressedListStorage(SIZE),
    "lanes": lambda: LazyTensorStorage(SIZE, ndim=2),
    "list": lambda: ListStorage(SIZE),
    "memmap": lambda: LazyMemmapStorage(SIZE),
    "stack": lambda: LazyStackStorage(SIZE),
    "tensor": lambda: LazyTensorStorage(SIZE),
    "tensor of given rows": lambda: TensorStorage(_steps(90, 1), max_size=SIZE),
}
SAMPLERS: dict[str, Any] = {
    "consuming": lambda: ConsumingSampler(max_sample_count=2),
    "full batches": lambda: SamplerWithoutReplacement(drop_last=True),
    "ordered": lambda: SamplerWithoutReplacement(shuffle=False),
    "passes": SamplerWithoutReplacement,
    "prioritized": lambda: PrioritizedSampler(SIZE, 0.7, 0.5),
    "prioritized slices": lambda: PrioritizedSliceSampler(SIZE, 0.7, 0.5, slice_len=2, end_key=END),
    "random": RandomSampler,
    "ranked": lambda: RankPrioritizedSampler(SIZE, 0.7, 0.5),
    "slice passes": lambda: SliceSamplerWithoutReplacement(slice_len=2, end_key=END),
    "slices": lambda: SliceSampler(slice_len=2, end_key=END),
    "stale": lambda: StalenessAwareSampler(version_key="version"),
    "streaming": lambda: StreamingSliceSampler(slice_len=2, end_key=END),
}
WRITERS: dict[str, Any] = {
    "highest": lambda: TensorDictMaxValueWriter("rank"),
    "immutable": ImmutableDatasetWriter,
    "numbered": TensorDictRoundRobinWriter,
    "ring": RoundRobinWriter,
}
FORMATS: list[Any] = [
    TensorStorageCheckpointer,
    FlatStorageCheckpointer,
    NestedStorageCheckpointer,
    H5StorageCheckpointer,
    ListStorageCheckpointer,
]


def _formats(storage: str) -> list[Any]:
    if storage in ("compressed", "list", "stack"):
        return [ListStorageCheckpointer]
    return FORMATS[:2] if storage == "tensor of given rows" else FORMATS


def _writers(storage: str) -> list[str]:
    """Writers that go with a storage: of lanes only a ring does, and given rows do not carry their numbers."""
    left_out = {"lanes": {"highest", "numbered"}, "tensor of given rows": {"numbered"}}.get(storage, set())
    return sorted(WRITERS.keys() - left_out)


def _data(storage: str, first: int, count: int) -> TensorDict:
    if storage != "lanes":
        return _steps(first, count)
    data: TensorDict = TensorDict.stack([_steps(first, count // 2), _steps(first + 50, count // 2)])
    return data


def _buffer(storage: str, sampler: str, writer: str, first: int) -> TensorDictReplayBuffer:
    """A buffer that went round its ring once; a data set already there, if that is its writer."""
    parts = {"storage": STORAGES[storage](), "writer": WRITERS[writer]()}
    source = None
    if writer == "immutable":
        source = TensorDictReplayBuffer(storage=parts["storage"])
        _fill(source, storage, first)
    buffer = TensorDictReplayBuffer(
        **parts, sampler=SAMPLERS[sampler](), generator=torch.Generator().manual_seed(first), batch_size=2
    )
    if source is None:
        _fill(buffer, storage, first)
    return buffer


def _fill(buffer: TensorDictReplayBuffer, storage: str, first: int) -> None:
    buffer.extend(_data(storage, first, 8))
    buffer.extend(_data(storage, first + 8, 10))


def _continued(buffer: TensorDictReplayBuffer, storage: str, writer: str) -> Iterator[Any]:
    """What a buffer gives from now on: batches, places of new rows, all rows."""
    for turn in range(2):
        batch, info = buffer.sample(return_info=True)
        yield {**_entries(batch), **{key: value for key, value in info.items() if isinstance(value, torch.Tensor)}}
        if buffer.sampler.keeps_priorities:
            buffer.update_priority(info["index"], torch.arange(len(info["index"])) + 0.5 + turn)
        if writer != "immutable":
            yield {"places": buffer.extend(_data(storage, 200 + 2 * turn, 2))}
    yield _entries(buffer[:])
    yield {"length": torch.tensor([len(buffer), buffer.write_count])}


def _entries(batch: Any) -> dict[Any, torch.Tensor]:
    return dict(batch.to_tensordict().flatten_keys().items())


@pytest.mark.parametrize("storage", sorted(STORAGES))
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_every_combination_goes_on_where_it_was_saved(
    storage: str, sampler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With each writer and format, the next batches, what is known of them, places and rows are the same bit by bit."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # which takes most of the time, and changes nothing here
    monkeypatch.setattr("rl_buffers._mapped_files._AHEAD", 0)
    for writer in _writers(storage):
        for number, kind in enumerate(_formats(storage)):
            buffer, other = _buffer(storage, sampler, writer, 0), _buffer(storage, sampler, writer, 30)
            _, info = buffer.sample(return_info=True)
            if buffer.sampler.keeps_priorities:
                buffer.update_priority(info["index"], 0.25)
            folder = tmp_path / writer  # in which earlier formats were saved
            if number % 2:
                buffer.dumps_in_background(folder, checkpointer=kind()).wait(60)
            else:
                buffer.dumps(folder, checkpointer=kind())
            other.sample()
            other.loads(folder)
            pairs = zip(_continued(buffer, storage, writer), _continued(other, storage, writer), strict=True)
            for step, (left, right) in enumerate(pairs):
                where = f"{writer}, {kind.__name__}, step {step}"
                assert left.keys() == right.keys(), where
                assert all(torch.equal(left[key], right[key]) for key in left), where
