"""Hooks that change rows on the way to files and back."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_buffers import (
    CompressedListStorage,
    FlatStorageCheckpointer,
    H5StorageCheckpointer,
    LazyMemmapStorage,
    LazyStackStorage,
    LazyTensorStorage,
    ListStorage,
    ListStorageCheckpointer,
    NestedStorageCheckpointer,
    RandomSampler,
    ReplayBuffer,
    SamplerWithoutReplacement,
    TensorDictReplayBuffer,
    TensorStorageCheckpointer,
)
from rl_specs import SpecError

FORMATS: list[Any] = [
    TensorStorageCheckpointer,
    FlatStorageCheckpointer,
    NestedStorageCheckpointer,
    H5StorageCheckpointer,
    ListStorageCheckpointer,
]


def _rows(first: int, count: int) -> TensorDict:
    number = torch.arange(first, first + count)
    return TensorDict({"a": number, "in": {"b": number.double().view(-1, 1).expand(-1, 2)}}, [count])


def _buffer(storage: Any, seed: int = 0) -> TensorDictReplayBuffer:
    generator = torch.Generator().manual_seed(seed)
    return TensorDictReplayBuffer(
        storage=storage, sampler=SamplerWithoutReplacement(), batch_size=3, generator=generator
    )


def _pack(data: TensorDict, path: Path) -> dict[str, torch.Tensor]:
    """Rows of another make and number: pairs."""
    assert path.is_dir()
    return {"pairs": data["a"].view(-1, 2)}


def _unpack(data: dict[str, torch.Tensor], path: Path) -> TensorDict:
    number = data["pairs"].flatten()
    return TensorDict({"a": number, "in": {"b": number.double().view(-1, 1).expand(-1, 2)}}, [len(number)])


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("storage", [LazyTensorStorage, LazyMemmapStorage])
def test_tensors_are_changed_both_ways(kind: Any, storage: Any, tmp_path: Path) -> None:
    """Rows saved as pairs come back as they were, with the next batches, in every format, also a second time."""
    buffer, other = _buffer(storage(8, checkpointer=kind())), _buffer(storage(8), 1)
    buffer.register_save_hook(_pack)
    other.register_load_hook(_unpack)
    for first in (0, 10):
        buffer.extend(_rows(first, 6))
        buffer.sample()
        buffer.dumps(tmp_path)
        other.loads(tmp_path)
        assert buffer[:]["a"].tolist() == other[:]["a"].tolist()
        assert torch.equal(buffer[:]["in", "b"], other[:]["in", "b"])
        assert buffer.sample()["a"].tolist() == other.sample()["a"].tolist()
        assert torch.equal(buffer.extend(_rows(50, 1)), other.extend(_rows(50, 1)))


@pytest.mark.parametrize("storage", [ListStorage, LazyStackStorage, CompressedListStorage])
def test_lists_are_changed_both_ways(storage: Any, tmp_path: Path) -> None:
    """Hooks of a list get and give a list of rows, called in the order in which they were registered."""
    buffer, other = _buffer(storage(8)), _buffer(storage(8), 1)
    buffer.register_save_hook(lambda rows, path: [row["a"] for row in rows])
    buffer.register_save_hook(lambda rows, path: [{"twice": 2 * row} for row in rows])
    other.register_load_hook(lambda rows, path: [row["twice"] // 2 for row in rows])
    other.register_load_hook(lambda rows, path: list(_unpack({"pairs": torch.stack(rows)}, path).unbind(0)))
    buffer.extend(_rows(0, 11))
    buffer.dumps(tmp_path)
    other.loads(tmp_path)
    assert buffer[:]["a"].tolist() == other[:]["a"].tolist() == [8, 9, 10, 3, 4, 5, 6, 7]
    assert buffer.sample()["a"].tolist() == other.sample()["a"].tolist()


def test_lanes_come_back(tmp_path: Path) -> None:
    """Rows of several lanes pass through hooks in the order of their numbers, and come back with their lanes."""
    buffer, other = (TensorDictReplayBuffer(storage=LazyTensorStorage(8, ndim=2), batch_size=2) for _ in range(2))
    data = TensorDict({"a": torch.arange(6).view(2, 3)}, [2, 3])
    buffer.extend(data)
    seen: list[list[int]] = []

    def negative(rows: TensorDict, path: Path) -> Any:
        seen.append(rows["a"].tolist())
        return -rows["a"]

    buffer.register_save_hook(negative)
    other.register_load_hook(lambda rows, path: TensorDict({"a": -rows}, [len(rows)]))
    buffer.dumps(tmp_path)
    other.loads(tmp_path)
    assert seen == [[0, 3, 1, 4, 2, 5]]
    assert torch.equal(other[:]["a"], data["a"])


@pytest.mark.parametrize("kind", FORMATS)
def test_an_error_in_a_hook_changes_nothing(kind: Any, tmp_path: Path) -> None:
    """A save hook that raises leaves the files of the earlier save, and a load hook that raises the rows and passes."""
    buffer, other = _buffer(LazyTensorStorage(8, checkpointer=kind())), _buffer(LazyTensorStorage(8))
    buffer.extend(_rows(0, 4))
    buffer.dumps(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def broken(data: Any, path: Path) -> Any:
        raise RuntimeError("no")

    buffer.register_save_hook(broken)
    buffer.extend(_rows(4, 2))
    with pytest.raises(RuntimeError, match="no"):
        buffer.dumps(tmp_path)
    with pytest.raises(RuntimeError, match="no"):
        buffer.dumps_in_background(tmp_path).wait(20)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    other.extend(_rows(90, 7))
    other.register_load_hook(broken)
    with pytest.raises(RuntimeError, match="no"):
        other.loads(tmp_path)
    assert other[:]["a"].tolist() == list(range(90, 97))
    other.storage.checkpointer = kind()
    other.loads(tmp_path)
    assert other[:]["a"].tolist() == [0, 1, 2, 3]


def test_what_hooks_must_not_do_is_said(tmp_path: Path) -> None:
    """Rows that nobody turns back, of another number or make, hooks that return nothing or cannot be called."""
    buffer, other = _buffer(LazyTensorStorage(8)), _buffer(LazyTensorStorage(8))
    other.extend(_rows(0, 1))
    buffer.extend(_rows(0, 6))
    buffer.register_save_hook(_pack)
    buffer.dumps(tmp_path)
    with pytest.raises(SpecError, match="register_load_hook"):
        other.loads(tmp_path)
    for hook, text in (
        (lambda data, path: _unpack(data, path)[:4], "number of rows: expected 6, found 4"),
        (lambda data, path: data, "pairs"),
    ):
        other.storage.checkpointer = TensorStorageCheckpointer()
        other.register_load_hook(hook)
        with pytest.raises(SpecError, match=text):
            other.loads(tmp_path)
    other.storage.checkpointer = TensorStorageCheckpointer()
    other.register_load_hook(lambda data, path: None)
    with pytest.raises(TypeError, match="returned None"):
        other.loads(tmp_path)
    with pytest.raises(TypeError, match="save hook"):
        other.register_save_hook(3)  # type: ignore[arg-type]  # the mistake under test
    assert other[:]["a"].tolist() == [0]


def test_hooks_belong_to_a_checkpointer(tmp_path: Path) -> None:
    """A checkpointer given to `dumps` and `loads` adds its hooks to those of the storage, inside out."""
    shared = FlatStorageCheckpointer()
    shared.register_save_hook(lambda data, path: {"x": data["x"] * 2})
    shared.register_load_hook(lambda data, path: {"x": data["x"] // 2})
    buffer, other = (ReplayBuffer(storage=LazyTensorStorage(4), sampler=RandomSampler()) for _ in range(2))
    buffer.register_save_hook(lambda data, path: {"x": data["x"] + 1})
    other.storage.register_load_hook(lambda data, path: {"x": data["x"] - 1})
    buffer.extend({"x": torch.arange(3)})
    buffer.dumps(tmp_path, checkpointer=shared)
    plain = ReplayBuffer(storage=LazyTensorStorage(4))
    plain.register_load_hook(lambda data, path: data)
    plain.loads(tmp_path)
    assert plain[:]["x"].tolist() == [2, 4, 6]
    other.loads(tmp_path, checkpointer=shared)
    assert other[:]["x"].tolist() == [0, 1, 2]


def test_a_load_hook_alone_changes_an_earlier_save(tmp_path: Path) -> None:
    """A load hook brings rows saved without hooks, and states in one file, to the make that a storage has now."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(4))
    buffer.extend({"old": torch.arange(3)})
    buffer.dumps(tmp_path / "new")
    (tmp_path / "old").mkdir()
    torch.save(buffer.state_dict(), tmp_path / "old" / "buffer.pt")
    for name in ("new", "old"):
        other = ReplayBuffer(storage=LazyTensorStorage(4))
        other.extend({"renamed": torch.tensor([7.0])})
        other.register_load_hook(lambda data, path: {"renamed": data["old"].float()})
        other.loads(tmp_path / name)
        assert other[:]["renamed"].tolist() == [0.0, 1.0, 2.0]


def test_no_rows_no_hooks(tmp_path: Path) -> None:
    """A buffer without rows is saved and loaded without its hooks being called."""
    for number, storage in enumerate((LazyTensorStorage, ListStorage)):
        buffer, other = ReplayBuffer(storage=storage(4)), ReplayBuffer(storage=storage(4))
        for each in (buffer, other):
            each.register_save_hook(_pack)
            each.register_load_hook(_unpack)
        buffer.dumps(tmp_path / str(number))
        other.loads(tmp_path / str(number))
        assert len(other) == 0


def test_equal_rows_are_written_once(tmp_path: Path) -> None:
    """A second save through hooks keeps the files of chunks that the hooks made alike."""
    buffer = _buffer(LazyTensorStorage(8))
    buffer.extend(_rows(0, 6))
    buffer.register_save_hook(_pack)
    buffer.dumps(tmp_path)
    before = sorted((tmp_path / "rows").iterdir())
    buffer.dumps(tmp_path)
    assert sorted((tmp_path / "rows").iterdir()) == before
    shutil.rmtree(tmp_path)
