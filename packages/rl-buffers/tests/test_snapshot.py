"""Rows of one moment, of which only those are copied that are overwritten."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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
    ReplayBuffer,
    StorageCheckpointerBase,
    TensorDictMaxValueWriter,
    TensorDictReplayBuffer,
    TensorStorageCheckpointer,
)
from rl_buffers._rows import Rows
from rl_buffers._snapshot import Snapshot

FORMATS: dict[str, Any] = {
    "flat": FlatStorageCheckpointer,
    "hdf5": H5StorageCheckpointer,
    "list": ListStorageCheckpointer,
    "nested": NestedStorageCheckpointer,
    "tensor": TensorStorageCheckpointer,
}


def _rows(first: int, count: int) -> TensorDict:
    number = torch.arange(first, first + count)
    after = {"a": number + 1, "flag": torch.zeros(count, dtype=torch.bool)}
    return TensorDict({"a": number, "wide": number.double().view(-1, 1) + torch.arange(5), "next": after}, [count])


def _assert_rows(batch: TensorDict, numbers: list[int]) -> None:
    """Rows are whole and those of `numbers`."""
    expected = _rows(0, 1000)[torch.tensor(numbers)]
    assert batch["a"].tolist() == numbers
    assert bool((batch.select(*expected.keys()) == expected).all())


class _Gate:
    """Stops a checkpointer before it begins, or after it has written one chunk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: Any, *, after_chunks: int = 0) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        save, told, chunks = kind.save, Snapshot.done, [0]

        def held(checkpointer: StorageCheckpointerBase, rows: Rows, target: Any) -> dict[str, Any]:
            if not after_chunks:
                self._wait()
            state: dict[str, Any] = save(checkpointer, rows, target)
            return state

        def counted(snapshot: Snapshot, stop: int) -> None:
            told(snapshot, stop)
            chunks[0] += 1
            if chunks[0] == after_chunks:
                self._wait()

        monkeypatch.setattr(kind, "save", held)
        monkeypatch.setattr(Snapshot, "done", counted)

    def _wait(self) -> None:
        self.reached.set()
        assert self.opened.wait(30)


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("storage", [LazyTensorStorage, LazyMemmapStorage])
def test_only_overwritten_rows_are_copied(
    name: str, storage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 100 rows the 12 overwritten before they are saved are copied, once each, and the save is of the call."""
    gate = _Gate(monkeypatch, FORMATS[name])
    buffer = TensorDictReplayBuffer(storage=storage(100, checkpointer=FORMATS[name]()), batch_size=4)
    buffer.extend(_rows(0, 100))
    saving = buffer.dumps_in_background(tmp_path)
    assert gate.reached.wait(30)
    assert saving.copied_rows == 0
    for first in (500, 505):
        buffer.extend(_rows(first, 5))
    buffer[3:6] = _rows(600, 3)  # copied already
    buffer[torch.tensor([50, 3, 50])] = _rows(700, 3)
    buffer[60] = _rows(800, 1)[0]
    assert saving.copied_rows == 12
    gate.opened.set()
    saving.wait(60)
    assert saving.copied_rows == 12
    other = TensorDictReplayBuffer(storage=LazyTensorStorage(100), batch_size=4)
    other.loads(tmp_path)
    _assert_rows(other[:], list(range(100)))
    _assert_rows(buffer[10:20], list(range(10, 20)))


def test_rows_that_are_saved_are_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the first of eight chunks is on disk, its rows are overwritten without a copy, and those after it with."""
    monkeypatch.setattr("rl_buffers._chunks._LEAST", 8 * 100)
    gate = _Gate(monkeypatch, TensorStorageCheckpointer, after_chunks=1)
    buffer, other = (ReplayBuffer(storage=LazyTensorStorage(800)) for _ in range(2))
    buffer.extend(torch.arange(800.0, dtype=torch.float64))
    saving = buffer.dumps_in_background(tmp_path)
    assert gate.reached.wait(30)
    buffer.extend(torch.zeros(130, dtype=torch.float64))
    assert saving.copied_rows == 30
    gate.opened.set()
    saving.wait(60)
    other.loads(tmp_path)
    assert torch.equal(other[:], torch.arange(800.0, dtype=torch.float64))
    buffer.extend(torch.zeros(300, dtype=torch.float64))
    assert saving.copied_rows == 30


def test_a_second_save_in_the_background_writes_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written during a save belongs to the next one, which writes these chunks and no others."""
    monkeypatch.setattr("rl_buffers._chunks._LEAST", 8 * 100)
    gate = _Gate(monkeypatch, TensorStorageCheckpointer)
    buffer, other = (ReplayBuffer(storage=LazyMemmapStorage(800)) for _ in range(2))
    buffer.extend(torch.arange(800.0, dtype=torch.float64))
    saving = buffer.dumps_in_background(tmp_path)
    assert gate.reached.wait(30)
    buffer[150] = torch.tensor(-1.0, dtype=torch.float64)
    gate.opened.set()
    saving.wait(60)
    before = {path.name for path in (tmp_path / "rows").iterdir()}
    assert len(before) == 8
    monkeypatch.setattr(torch, "index_select", None)  # nothing is copied for a save that nobody writes during
    second = buffer.dumps_in_background(tmp_path)
    second.wait(60)
    monkeypatch.undo()
    assert {path.name for path in (tmp_path / "rows").iterdir()} - before == {"000002-00001.bin"}
    assert second.copied_rows == 0
    other.loads(tmp_path)
    assert other[:].tolist() == [-1.0 if number == 150 else float(number) for number in range(800)]


@pytest.mark.parametrize("storage", [ListStorage, LazyStackStorage, CompressedListStorage])
def test_rows_of_lists_are_never_copied(storage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list is saved as it was without a copy of any row."""
    gate = _Gate(monkeypatch, ListStorageCheckpointer)
    buffer, other = (TensorDictReplayBuffer(storage=storage(6), batch_size=2) for _ in range(2))
    buffer.extend(_rows(0, 5))
    saving = buffer.dumps_in_background(tmp_path)
    assert gate.reached.wait(30)
    buffer.extend(_rows(100, 4))
    buffer.empty()
    buffer.extend(_rows(200, 1))
    gate.opened.set()
    saving.wait(60)
    assert saving.copied_rows == 0
    other.loads(tmp_path)
    _assert_rows(other[:].to_tensordict(), list(range(5)))


@pytest.mark.parametrize("change", ["empty", "load", "close"])
def test_whatever_happens_to_the_buffer(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emptied and filled anew, loaded or closed meanwhile, the buffer is saved as it was."""
    gate = _Gate(monkeypatch, TensorStorageCheckpointer)
    buffer, other = (TensorDictReplayBuffer(storage=LazyMemmapStorage(10), batch_size=2) for _ in range(2))
    other.extend(_rows(300, 7))
    state = other.state_dict()
    buffer.extend(_rows(0, 10))
    saving = buffer.dumps_in_background(tmp_path)
    assert gate.reached.wait(30)
    changes: dict[str, Callable[[], Any]] = {
        "empty": lambda: buffer.empty() or buffer.extend(_rows(900, 3)),  # type: ignore[func-returns-value]  # None
        "load": lambda: buffer.load_state_dict(state),
        "close": lambda: buffer.storage.close(),  # type: ignore[attr-defined]  # a storage in files has it
    }
    changes[change]()
    gate.opened.set()
    saving.wait(60)
    assert saving.copied_rows == {"empty": 3, "load": 7, "close": 0}[change]
    other.loads(tmp_path)
    _assert_rows(other[:], list(range(10)))


def test_rows_that_other_processes_may_write_are_copied_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shared storage is saved as it was at the call, though others write to it unseen."""
    gate = _Gate(monkeypatch, TensorStorageCheckpointer)
    one, two = (
        TensorDictReplayBuffer(storage=LazyMemmapStorage(10, scratch_dir=tmp_path / "rows", shared_init=True))
        for _ in range(2)
    )
    one.extend(_rows(0, 8))
    saving = one.dumps_in_background(tmp_path / "saved")
    assert gate.reached.wait(30)
    two.extend(_rows(500, 6))
    gate.opened.set()
    saving.wait(60)
    assert saving.copied_rows == 8
    other = TensorDictReplayBuffer(storage=LazyTensorStorage(10))
    other.loads(tmp_path / "saved")
    _assert_rows(other[:], list(range(8)))


def test_saves_follow_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves of one folder wait for the one before, so that the last one is there in the end, whole."""
    buffer, other = (TensorDictReplayBuffer(storage=LazyTensorStorage(10)) for _ in range(2))
    for first in range(0, 60, 3):
        buffer.extend(_rows(first, 3))
        saving = buffer.dumps_in_background(tmp_path)
    saving.wait(60)
    other.loads(tmp_path)
    assert sorted(other[:]["a"].tolist()) == list(range(50, 60))
    buffer.dumps_in_background(tmp_path)
    buffer.extend(_rows(60, 3))
    buffer.loads(tmp_path)
    assert sorted(buffer[:]["a"].tolist()) == list(range(50, 60))


def test_a_writer_that_scatters_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows replaced by rank, here and there, are copied each, and not those between them."""
    gate = _Gate(monkeypatch, TensorStorageCheckpointer)
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(20), writer=TensorDictMaxValueWriter("a"))
    order = torch.arange(20).roll(7)
    buffer.extend(_rows(0, 20)[order])
    saving = buffer.dumps_in_background(tmp_path)
    assert gate.reached.wait(30)
    buffer.extend(_rows(100, 3))
    buffer.add(_rows(103, 1)[0])
    assert saving.copied_rows == 4
    gate.opened.set()
    saving.wait(60)
    other = TensorDictReplayBuffer(storage=LazyTensorStorage(20), writer=TensorDictMaxValueWriter("a"))
    other.loads(tmp_path)
    _assert_rows(other[:], order.tolist())


def test_a_fork_during_a_save_writes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process forked while rows are copied for a save is not held up by that."""
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(10))
    buffer.extend(_rows(0, 10))
    snapshot = buffer.storage.freeze()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with snapshot._lock:  # type: ignore[attr-defined]  # as the thread of a save may have held it
        buffer.extend(_rows(50, 2))
    assert snapshot.copied == 0


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["extend", "add", "set", "freeze", "read", "done", "empty"]), st.integers(0, 11)),
    max_size=25,
)


@given(st.integers(1, 9), st.integers(1, 2), ACTIONS)
@settings(max_examples=120, deadline=None)
def test_a_snapshot_is_what_a_copy_would_be(size: int, lanes: int, actions: list[tuple[str, int]]) -> None:
    """Whatever is written, every snapshot reads as a full copy made at its time, and copies no row twice."""
    storage = LazyTensorStorage(size * lanes, ndim=lanes)
    buffer = ReplayBuffer(storage=storage)
    taken: list[tuple[Any, torch.Tensor, int]] = []
    counter = 0
    for action, number in actions:
        if action in ("extend", "add"):
            steps = number % (size + 2) if action == "extend" else 1
            shape = [lanes, steps] if lanes > 1 else [steps]
            values = torch.arange(counter, counter + lanes * steps).view(shape)
            _ = buffer.extend(values) if action == "extend" and steps else buffer.add(values.sum(-1))
            counter += lanes * steps
        elif action == "set" and len(buffer):
            rows = torch.tensor([number % len(storage), (number * 5 + 1) % len(storage)])
            buffer[rows] = torch.tensor([-number, -number])
        elif action == "empty":
            buffer.empty()
        elif action == "freeze" and storage.paths():
            taken.append((storage.freeze(), storage.values(), 0))
        elif taken and action in ("read", "done"):
            snapshot, expected, done = taken[number % len(taken)]
            if action == "done":
                done = max(done, min(number, len(expected)))
                snapshot.done(done)
                taken[number % len(taken)] = (snapshot, expected, done)
            (column,) = snapshot.columns().values()
            assert torch.equal(column[done:], expected[done:])
            index = torch.arange(len(expected) - 1, done - 1, -1)
            assert torch.equal(column[index], expected[index])
            assert snapshot.copied <= len(expected)
    for snapshot, expected, done in taken:
        assert torch.equal(snapshot.values()[done:], expected[done:])
        snapshot.release()
    if storage.paths() and len(buffer):
        buffer[0] = torch.tensor(7)
        assert storage._snapshots == ()


@pytest.mark.parametrize("kind", [TensorStorageCheckpointer, FlatStorageCheckpointer])
@pytest.mark.parametrize("storage", [LazyTensorStorage, LazyMemmapStorage])
def test_a_save_while_rows_are_written_all_the_time(
    storage: Any, kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saves of 40 chunks, during which rows are written without a pause, hold the rows and place of the call."""
    monkeypatch.setattr("rl_buffers._chunks._LEAST", 2000)
    buffer, other = (TensorDictReplayBuffer(storage=storage(1500, checkpointer=kind()), batch_size=2) for _ in range(2))
    chance = torch.Generator().manual_seed(0)
    written = 2000
    buffer.extend(_rows(0, written))
    for _ in range(4):
        expected = buffer[:]
        saving = buffer.dumps_in_background(tmp_path)
        place = written % 1500
        while not saving.is_done:
            count = int(torch.randint(1, 40, (), generator=chance))
            buffer.extend(_rows(written, count))
            written += count
        saving.wait(60)
        other.loads(tmp_path)
        assert bool((other[:] == expected).all())
        assert other.add(_rows(0, 1)[0]) == place
