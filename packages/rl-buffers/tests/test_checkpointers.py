"""How rows become files, and rows again."""

import errno
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

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
    Storage,
    StorageCheckpointerBase,
    TensorDictPrioritizedReplayBuffer,
    TensorDictReplayBuffer,
    TensorStorage,
    TensorStorageCheckpointer,
)
from rl_buffers._checkpointer import Target
from rl_buffers._manifest import file_digest
from rl_buffers._rows import Rows, RowStore
from rl_specs import SpecError

TENSOR_KINDS: list[Any] = [
    TensorStorageCheckpointer,
    FlatStorageCheckpointer,
    NestedStorageCheckpointer,
    H5StorageCheckpointer,
    ListStorageCheckpointer,
]


def _steps(first: int, count: int) -> TensorDict:
    """Steps in the order of time: what follows one is the next one's observation, but for a reset at every fifth."""
    number = torch.arange(first, first + count).double()
    observation = torch.stack([number, -number, number.sin()], 1)
    following = torch.stack([number + 1, -number - 1, (number + 1).sin()], 1)
    following[number % 5 == 4] = torch.nan
    flag = torch.zeros(count, 1, dtype=torch.bool)
    done = (number % 5 == 4).view(-1, 1)
    inner = {"observation": following, "reward": number.view(-1, 1).to(torch.bfloat16), "done": done}
    inner["truncated"] = flag
    rank = number * 7 % 5
    return TensorDict(
        {
            "observation": observation,
            "done": flag,
            "rank": rank,
            "a.b/c": number.to(torch.uint8),
            "none": torch.zeros(count, 0),
        }
        | {"next": inner},
        batch_size=[count],
    )


def _buffer(storage: Storage, seed: int = 0, sampler: Any = RandomSampler) -> TensorDictReplayBuffer:
    generator = torch.Generator().manual_seed(seed)
    return TensorDictReplayBuffer(storage=storage, sampler=sampler(), generator=generator, batch_size=5)


def _same(left: TensorDict, right: TensorDict) -> bool:
    """Equal bit by bit, NaN included."""
    flat, other = left.flatten_keys(), right.flatten_keys()
    return set(flat.keys()) == set(other.keys()) and all(
        _bits(value) == _bits(other[key]) for key, value in flat.items()
    )


def _bits(value: Tensor) -> bytes:
    return value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", TENSOR_KINDS)
@pytest.mark.parametrize("is_full", [False, True])
def test_tensor_rows_are_saved_in_every_format(kind: Any, is_full: bool, tmp_path: Path) -> None:
    """Rows, place in the ring and next batches come back bit by bit, from any format, also a second time."""
    buffer = _buffer(LazyTensorStorage(30), sampler=SamplerWithoutReplacement)
    for first in range(0, 60 if is_full else 20, 10):
        buffer.extend(_steps(first, 7))
    buffer.sample()
    checkpointer: StorageCheckpointerBase = kind()
    buffer.dumps(tmp_path, checkpointer=checkpointer)
    first_files = _files(tmp_path)
    buffer.extend(_steps(100, 1))
    buffer.sample()
    buffer.dumps(tmp_path, checkpointer=checkpointer)
    assert len(_files(tmp_path)) == len(first_files)
    other = _buffer(LazyMemmapStorage(30), seed=1, sampler=SamplerWithoutReplacement)
    other.extend(_steps(500, 3))
    other.loads(tmp_path)
    assert _same(buffer[:], other[:])
    assert _same(buffer.sample(), other.sample())
    assert torch.equal(buffer.extend(_steps(200, 4)), other.extend(_steps(200, 4)))
    assert _same(buffer.sample(), other.sample())


@pytest.mark.parametrize("kind", [TensorStorageCheckpointer, FlatStorageCheckpointer, H5StorageCheckpointer])
def test_lanes_are_saved_in_every_format(kind: Any, tmp_path: Path) -> None:
    """A storage of several lanes comes back with them, and what follows a row is looked for in its own lane."""
    buffer = _buffer(LazyTensorStorage(24, ndim=2))
    buffer.extend(TensorDict.stack([_steps(0, 9), _steps(40, 9)]))
    buffer.dumps(tmp_path, checkpointer=kind())
    other = _buffer(LazyTensorStorage(24, ndim=2), seed=1)
    other.loads(tmp_path)
    assert _same(buffer[:], other[:])
    assert _same(buffer.sample(), other.sample())


def test_plain_tensors_and_unused_buffers_are_saved(tmp_path: Path) -> None:
    """A buffer of tensors, and one that never got data, come back in the formats of arrays."""
    for number, kind in enumerate(TENSOR_KINDS):
        buffer, other = (ReplayBuffer(storage=LazyTensorStorage(5)) for _ in range(2))
        buffer.dumps(tmp_path / f"{number}", checkpointer=kind())
        other.loads(tmp_path / f"{number}")
        assert len(other) == 0
        buffer.extend(torch.arange(4))
        buffer.dumps(tmp_path / f"{number}", checkpointer=kind())
        other.loads(tmp_path / f"{number}")
        assert other[:].tolist() == [0, 1, 2, 3]


def test_compact_formats_keep_nothing_twice(tmp_path: Path) -> None:
    """Of next observations only those after which the row does not go on are kept, and of equal flags one."""
    buffer = _buffer(LazyTensorStorage(100))
    buffer.extend(_steps(0, 50))
    buffer.dumps(tmp_path / "flat", checkpointer=FlatStorageCheckpointer())
    flat = {name.split("-", 1)[-1]: np.load(tmp_path / "flat" / name) for name in _files(tmp_path / "flat")[1:]}
    assert flat["next.observation.changed.npy"].shape == (10, 3)
    assert flat["next.observation.where.npy"].tolist()[:2] == [0b00001000, 0b01000010]
    assert flat["done.same.npy"].shape == (1, 1)
    assert flat["observation.rows.npy"].shape == (50, 3)
    assert "a%2Eb%2Fc.rows.npy" in flat
    buffer.dumps(tmp_path / "nested", checkpointer=NestedStorageCheckpointer())
    assert (tmp_path / "nested/rows/000001/next/observation/changed.npy").is_file()
    buffer.dumps(tmp_path / "h5", checkpointer=H5StorageCheckpointer(h5_kwargs={"compression": "gzip"}))
    assert (tmp_path / "h5/rows/000001-checkpoint.h5").is_file()


@pytest.mark.parametrize("storage", [LazyTensorStorage, LazyMemmapStorage])
def test_a_second_save_writes_what_changed(storage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight chunks only the one with new rows gets a new file; a buffer that loaded the save goes on likewise."""
    monkeypatch.setattr("rl_buffers._chunks._LEAST", 8 * 100)
    buffer = ReplayBuffer(storage=storage(800))
    buffer.extend(torch.arange(800.0, dtype=torch.float64))
    buffer.dumps(tmp_path)
    before = set(_files(tmp_path))
    assert len(before) == 9
    buffer.extend(torch.arange(5.0, 15.0, dtype=torch.float64))
    buffer.dumps(tmp_path)
    assert set(_files(tmp_path)) - before == {"rows/000002-00000.bin"}
    assert len(_files(tmp_path)) == 9
    other = ReplayBuffer(storage=storage(800))
    other.loads(tmp_path)
    assert torch.equal(other[:], buffer[:])
    before = set(_files(tmp_path))
    other[750] = torch.tensor(-1.0, dtype=torch.float64)
    other.dumps(tmp_path)
    assert set(_files(tmp_path)) - before == {"rows/000003-00007.bin"}
    buffer.dumps(tmp_path)
    assert {"rows/000004-00007.bin"} <= set(_files(tmp_path))
    third = ReplayBuffer(storage=storage(800))
    third.loads(tmp_path)
    assert torch.equal(third[:], buffer[:])


def test_rows_written_by_other_processes_are_saved(tmp_path: Path) -> None:
    """A second save of a shared storage holds what was written through another one meanwhile."""
    one, other = (
        ReplayBuffer(storage=LazyMemmapStorage(20, scratch_dir=tmp_path / "rows", shared_init=True)) for _ in range(2)
    )
    one.extend(torch.arange(20))
    one.dumps(tmp_path / "saved")
    other.extend(torch.arange(100, 110))
    one.dumps(tmp_path / "saved")
    third = ReplayBuffer(storage=LazyTensorStorage(20))
    third.loads(tmp_path / "saved")
    assert third[:].tolist() == [*range(100, 110), *range(10, 20)]


def test_damaged_and_missing_files_are_named_and_nothing_is_loaded(tmp_path: Path) -> None:
    """A changed byte and a missing file are both in the error, and the buffer keeps its rows."""
    buffer = _buffer(LazyTensorStorage(10))
    buffer.extend(_steps(0, 5))
    buffer.dumps(tmp_path, checkpointer=FlatStorageCheckpointer())
    damaged, missing = tmp_path / "rows/000001-observation.rows.npy", tmp_path / "rows/000001-done.same.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    missing.unlink()
    with pytest.raises(SpecError, match=r"done.same.npy is missing") as caught:
        buffer.loads(tmp_path)
    assert "observation.rows.npy is damaged" in str(caught.value)
    assert len(buffer) == 5


def test_what_a_checkpointer_cannot_do_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists have no tensors to save as arrays, h5py may be missing, and a later checkpointer is unknown."""
    with pytest.raises(TypeError, match="ListStorageCheckpointer"):
        _buffer(ListStorage(3)).dumps(tmp_path, checkpointer=FlatStorageCheckpointer())
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"rl-buffers\[hdf5\]"):
        H5StorageCheckpointer()
    buffer = _buffer(LazyTensorStorage(3))
    monkeypatch.setattr(FlatStorageCheckpointer, "name", "later")
    buffer.dumps(tmp_path, checkpointer=FlatStorageCheckpointer())
    with pytest.raises(SpecError, match="unknown checkpointer 'later'"):
        buffer.loads(tmp_path)


def test_a_disk_without_room_is_told_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer bytes free than the rows need, nothing is written and the earlier save is whole."""
    buffer = _buffer(LazyTensorStorage(10))
    buffer.extend(_steps(0, 5))
    buffer.dumps(tmp_path)
    before = _files(tmp_path)
    buffer.extend(_steps(5, 5))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    for kind in (TensorStorageCheckpointer, FlatStorageCheckpointer, H5StorageCheckpointer):
        with pytest.raises(OSError, match=r"bytes are to be written, 10 are free.*is whole.*save elsewhere"):
            buffer.dumps(tmp_path, checkpointer=kind())
    assert _files(tmp_path) == before
    other = _buffer(LazyTensorStorage(10), seed=1)
    other.loads(tmp_path)
    assert len(other) == 5


@pytest.mark.parametrize("kind", TENSOR_KINDS)
def test_a_disk_that_fills_up_leaves_the_earlier_save(kind: Any, tmp_path: Path) -> None:
    """A save cut off by the system (a limit on the size of files) raises, removes its files and changes nothing."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(10_000))
    buffer.extend(torch.arange(20))
    buffer.dumps(tmp_path, checkpointer=kind())
    before = _files(tmp_path)
    buffer.extend(torch.arange(9_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="what was saved there before is whole") as caught:
            buffer.dumps(tmp_path, checkpointer=kind())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    assert _files(tmp_path) == before
    other = ReplayBuffer(storage=LazyTensorStorage(10_000))
    other.loads(tmp_path)
    assert other[:].tolist() == list(range(20))


def _save_until(point: int, buffer: ReplayBuffer, folder: Path, checkpointer: StorageCheckpointerBase) -> None:
    """Save, and die before the call number `point` that changes the disk."""
    left = point

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapper

    for place, name in ((os, "fsync"), (Path, "unlink"), (Path, "replace"), (Path, "open"), (Path, "rmdir")):
        setattr(place, name, counted(getattr(place, name)))
    buffer.dumps(folder, checkpointer=checkpointer)


@pytest.mark.parametrize("kind", [TensorStorageCheckpointer, NestedStorageCheckpointer])
def test_a_process_killed_while_it_saves_leaves_a_whole_save(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before any call that changes the disk, a save leaves the one before, or is done; the next cleans up."""
    monkeypatch.setattr("rl_buffers._chunks._LEAST", 800)
    buffer, other = (ReplayBuffer(storage=LazyTensorStorage(400)) for _ in range(2))
    buffer.extend(torch.arange(400.0, dtype=torch.float64))
    buffer.dumps(tmp_path / "0", checkpointer=kind())
    buffer.extend(-torch.arange(400.0, dtype=torch.float64))
    outcomes = []
    for point in range(1, 100):
        folder = tmp_path / f"{point}"
        shutil.copytree(tmp_path / "0", folder)
        child = multiprocessing.get_context("fork").Process(target=_save_until, args=(point, buffer, folder, kind()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # forking a process with threads
            child.start()
        child.join(60)
        assert child.exitcode in (0, -signal.SIGKILL)
        other.loads(folder)
        assert other[:].abs().tolist() == list(range(400))
        outcomes.append(float(other[399]))
        buffer.dumps(folder, checkpointer=kind())
        assert len(_files(folder)) == len(_files(tmp_path / "0"))
        if child.exitcode == 0:
            break
    assert outcomes == sorted(outcomes, reverse=True)
    assert outcomes.count(399.0) >= 4
    assert outcomes.count(-399.0) >= 2


def test_a_storage_has_its_checkpointer(tmp_path: Path) -> None:
    """The one given to a storage, or set later, writes what `dumps` is not told about; by default it is the usual."""
    assert isinstance(LazyTensorStorage(3).checkpointer, TensorStorageCheckpointer)
    assert isinstance(ListStorage(3).checkpointer, ListStorageCheckpointer)
    own: StorageCheckpointerBase = NestedStorageCheckpointer()
    made: list[Storage] = [
        LazyTensorStorage(9, checkpointer=own),
        LazyMemmapStorage(9, checkpointer=own),
        TensorStorage(_steps(0, 2), max_size=9, checkpointer=own),
    ]
    for number, storage in enumerate(made):
        assert storage.checkpointer is own
        buffer = _buffer(storage)
        buffer.extend(_steps(0, 4))
        buffer.dumps(tmp_path / f"{number}")
        assert (tmp_path / f"{number}/rows/000001/next/reward/rows.npy").is_file()
        storage.checkpointer = FlatStorageCheckpointer()
        buffer.dumps(tmp_path / f"{number}")
        assert (tmp_path / f"{number}/rows/000002-next.reward.rows.npy").is_file()
        other = _buffer(LazyTensorStorage(9))
        other.loads(tmp_path / f"{number}")
        assert _same(buffer[:], other[:])
    lists = ListStorageCheckpointer()
    kinds: list[Any] = [ListStorage, LazyStackStorage, CompressedListStorage]
    for kind in kinds:
        assert kind(3, checkpointer=lists).checkpointer is lists


def test_a_buffer_is_told_its_checkpointer(tmp_path: Path) -> None:
    """`checkpointer=` of a buffer, given or made by a callable, is that of its storage, whenever that is made."""
    flat = FlatStorageCheckpointer()
    storage = LazyTensorStorage(9)
    assert ReplayBuffer(storage=storage, checkpointer=flat).storage is storage
    assert storage.checkpointer is flat
    late = TensorDictReplayBuffer(
        storage=partial(LazyTensorStorage, 9), checkpointer=FlatStorageCheckpointer, delayed_init=True
    )
    late = pickle.loads(pickle.dumps(late))
    assert not late.initialized
    assert isinstance(late.storage.checkpointer, FlatStorageCheckpointer)
    lists = ListStorageCheckpointer()
    assert ReplayBuffer(checkpointer=lists).storage.checkpointer is lists
    prioritized = TensorDictPrioritizedReplayBuffer(alpha=1.0, beta=1.0, checkpointer=lists)
    assert prioritized.storage.checkpointer is lists
    late.extend(_steps(0, 5))
    late.dump(tmp_path / "0")
    late.save(tmp_path / "1")
    for number in range(2):
        assert len(list((tmp_path / f"{number}" / "rows").glob("*.npy"))) > 1
        again = TensorDictReplayBuffer(storage=LazyTensorStorage(9))
        again.load(tmp_path / f"{number}")
        assert len(again) == 5
    for wrong in (flat, "flat"):
        with pytest.raises(TypeError, match="ListStorage"):
            ReplayBuffer(checkpointer=wrong)  # type: ignore[arg-type]  # the second one


def test_a_checkpointer_that_does_not_fit_is_refused_at_once() -> None:
    """A list cannot have one for tensors, and a class or another object is none: said where it is given."""
    for kind in (ListStorage, LazyStackStorage, CompressedListStorage):
        for wrong in (FlatStorageCheckpointer, NestedStorageCheckpointer, TensorStorageCheckpointer):
            with pytest.raises(TypeError, match=f"{wrong.__name__}: .*found {kind.__name__}.*ListStorageCheckpointer"):
                kind(3, checkpointer=wrong())
    storage = LazyTensorStorage(3)
    for mistake in (FlatStorageCheckpointer, "flat", None):
        with pytest.raises(TypeError, match=r"LazyTensorStorage: checkpointer.*Pass an object"):
            storage.checkpointer = mistake  # type: ignore[assignment]  # the mistake under test
    with pytest.raises(TypeError, match=r"ReplayBuffer.dumps: checkpointer.*Pass an object"):
        ReplayBuffer(storage=storage).dumps("nowhere", checkpointer=FlatStorageCheckpointer)  # type: ignore[arg-type]  # likewise
    with pytest.raises(TypeError, match=r"ReplayBuffer.loads: checkpointer.*Pass an object"):
        ReplayBuffer(storage=storage).loads("nowhere", checkpointer="flat")  # type: ignore[arg-type]  # likewise
    assert not Path("nowhere").exists()


class _Halves(StorageCheckpointerBase):
    """A checkpointer of one's own."""

    name = "halves"

    def save(self, storage: Rows, target: Target) -> dict[str, Any]:
        """The state, in a file."""
        name = target.name("state.pt")
        (target.folder / name).parent.mkdir(exist_ok=True)
        torch.save(storage.state_dict(), target.folder / name)
        return {
            **storage.head(),
            "saved": {"checkpointer": self.name, "files": {name: file_digest(target.folder / name)}},
        }

    def load(self, storage: RowStore, folder: Path, state: dict[str, Any]) -> None:
        """The state again."""
        (name,) = state["saved"]["files"]
        storage.load_state_dict(torch.load(folder / name))


@pytest.mark.parametrize("storage", [LazyTensorStorage, ListStorage])
def test_a_checkpointer_of_ones_own(storage: Any, tmp_path: Path) -> None:
    """It saves any rows, also in the background, and is found again where it is given; else its name is said."""
    buffer = _buffer(storage(9, checkpointer=_Halves()))
    buffer.extend(_steps(0, 12))
    buffer.dumps(tmp_path)
    buffer.dumps_in_background(tmp_path).wait(30)
    with pytest.raises(SpecError, match=r"unknown checkpointer 'halves'.*loads\(path, checkpointer="):
        _buffer(storage(9)).loads(tmp_path)
    for other, given in ((_buffer(storage(9, checkpointer=_Halves())), None), (_buffer(storage(9)), _Halves())):
        other.loads(tmp_path, checkpointer=given)
        assert _same(buffer[:], other[:])
