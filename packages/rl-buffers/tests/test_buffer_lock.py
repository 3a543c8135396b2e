"""Buffers of several processes over one storage."""

import copy
import multiprocessing
import os
import pickle
import random
import signal
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from rl_buffers import (
    LazyMemmapStorage,
    LazyTensorStorage,
    ListStorage,
    PrioritizedSampler,
    ReplayBuffer,
    RoundRobinWriter,
    Sampler,
    SamplerWithoutReplacement,
    TensorDictReplayBuffer,
)
from rl_buffers._buffer_lock import buffer_lock
from rl_buffers._random_sampler import RandomSampler

SIZE = 64
FORK = multiprocessing.get_context("fork")


def _checked_rows(writer: int, first: int, count: int) -> TensorDict:
    """Rows whose wide entry is made of their numbers, so that a torn row shows."""
    number = torch.arange(first, first + count) + 1_000_000 * writer
    return TensorDict({"number": number, "wide": number.double().view(-1, 1) + torch.arange(500)}, batch_size=[count])


def _torn(batch: TensorDict) -> Tensor:
    right: Tensor = batch["wide"] == batch["number"].double().view(-1, 1) + torch.arange(500)
    return ~right.all(-1)


def _buffer(folder: Path, sampler: Sampler | None = None) -> TensorDictReplayBuffer:
    storage = LazyMemmapStorage(SIZE, scratch_dir=folder, shared_init=True)
    return TensorDictReplayBuffer(storage=storage, sampler=sampler, batch_size=32)


def _work(folder: Path, writer: int, rounds: int) -> None:
    """Store rows, alone and together, and look at what others stored."""
    torch.set_num_threads(1)
    buffer = _buffer(folder)
    for turn in range(rounds):
        buffer.extend(_checked_rows(writer, turn * 10, 9))
        buffer.add(_checked_rows(writer, turn * 10 + 9, 1)[0])
        assert not _torn(buffer.sample()).any()


def _die_writing(folder: Path, count: int = 3) -> None:
    """Die in the middle of some rows."""
    buffer = _buffer(folder)
    storage = buffer.storage

    class HalfTable:
        """Stops half way."""

        def write(self, *arguments: object) -> None:
            """Write a part of the rows."""
            storage._views[1][5:8, :250] = -1.0  # type: ignore[attr-defined]  # behind the storage's back
            os.kill(os.getpid(), signal.SIGKILL)

    storage._tables = [HalfTable()]  # type: ignore[attr-defined]  # likewise
    buffer.extend(_checked_rows(3, 0, count))


def _die_loading(folder: Path, saved: Path, is_shared: bool) -> None:
    """Die in the middle of a load, with one entry of the rows in place."""
    storage = LazyMemmapStorage(SIZE, scratch_dir=folder, existsok=True, shared_init=is_shared)
    whole = storage.put
    puts: list[int] = []

    def put(path: Any, start: int, values: Tensor) -> None:
        if puts:
            os.kill(os.getpid(), signal.SIGKILL)
        puts.append(start)
        whole(path, start, values)

    storage.put = put  # type: ignore[method-assign]  # behind its back
    TensorDictReplayBuffer(storage=storage).loads(saved)


def _started(target: Callable[..., None], *arguments: object) -> BaseProcess:
    process = FORK.Process(target=target, args=arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking a process with threads
        process.start()
    return process


def _finished(process: BaseProcess) -> int | None:
    process.join(60)
    code = process.exitcode
    process.kill()
    return code


def test_processes_share_rows_and_ring(tmp_path: Path) -> None:
    """Three processes that start at once write and read one ring: no row is torn, none is lost."""
    rounds = 30
    workers = [_started(_work, tmp_path, number, rounds) for number in range(2)]
    _work(tmp_path, 2, rounds)
    assert [_finished(worker) for worker in workers] == [0, 0]
    buffer = _buffer(tmp_path)
    ring = buffer.storage.ring
    assert ring is not None
    assert (ring.written, ring.cursor, len(buffer)) == (3 * 10 * rounds, 3 * 10 * rounds % SIZE, SIZE)
    numbers = buffer[:]["number"]
    assert numbers.unique().numel() == SIZE
    assert not _torn(buffer[:]).any()


def test_a_process_that_dies_leaves_no_torn_row(tmp_path: Path) -> None:
    """The lock of a killed writer is free again, and rows that it was overwriting are mended with a warning."""
    buffer = _buffer(tmp_path)
    buffer.extend(_checked_rows(0, 0, SIZE + 5))
    assert _finished(_started(_die_writing, tmp_path)) == -signal.SIGKILL
    with pytest.warns(RuntimeWarning, match="died while it wrote rows 5 to 7; they are copies of row 4"):
        batch = buffer.sample()
    assert not _torn(batch).any()
    assert buffer[5:8]["number"].tolist() == [SIZE + 4] * 3


def test_a_process_that_dies_while_it_writes_all_rows_leaves_none(tmp_path: Path) -> None:
    """Where no row is whole the ring begins anew, from its first row."""
    buffer = _buffer(tmp_path)
    buffer.extend(_checked_rows(0, 0, SIZE))
    assert _finished(_started(_die_writing, tmp_path, SIZE)) == -signal.SIGKILL
    with pytest.warns(RuntimeWarning, match="died while it wrote all rows; none of them are left"):
        assert buffer.extend(_checked_rows(1, 0, 4)).tolist() == [0, 1, 2, 3]
    assert not _torn(buffer[:]).any()
    assert len(buffer) == 4


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_process_that_dies_while_it_loads_leaves_no_rows(is_shared: bool, tmp_path: Path) -> None:
    """Rows of which some entries were loaded are never read, and the next program may load or write anew."""
    source = TensorDictReplayBuffer(storage=LazyTensorStorage(SIZE))
    source.extend(_checked_rows(2, 0, SIZE + 9))
    source.dumps(tmp_path / "saved")
    folder = tmp_path / "rows"
    first = LazyMemmapStorage(SIZE, scratch_dir=folder, shared_init=is_shared)
    buffer = TensorDictReplayBuffer(storage=first)
    buffer.extend(_checked_rows(0, 0, SIZE + 5))
    assert _finished(_started(_die_loading, folder, tmp_path / "saved", is_shared)) == -signal.SIGKILL
    with pytest.warns(RuntimeWarning, match="died while it loaded rows; none of them are left. Load again"):
        again = LazyMemmapStorage(SIZE, scratch_dir=folder, existsok=True, shared_init=is_shared)
    other = TensorDictReplayBuffer(storage=again)
    assert len(other) == 0
    assert other.extend(_checked_rows(1, 0, 4)).tolist() == [0, 1, 2, 3]
    if is_shared:
        assert buffer.sample(4)["number"].min() >= 1_000_000
    other.loads(tmp_path / "saved")
    assert not _torn(other[:]).any()
    assert len(LazyMemmapStorage(SIZE, scratch_dir=folder, existsok=True, shared_init=is_shared)) == SIZE


def _work_until_killed(folder: Path, writer: int) -> None:
    """Store and look for torn rows without end; a torn row ends it with status 1."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    buffer = _buffer(folder)
    first = 0
    while not _torn(buffer.sample() if len(buffer) else _checked_rows(0, 0, 1)).any():
        first += buffer.extend(_checked_rows(writer, first, 1 + first % 19)).numel()
    sys.exit(1)


@pytest.mark.slow
def test_processes_killed_at_any_time_leave_no_torn_row(tmp_path: Path) -> None:
    """Of four processes one after another is killed and replaced, sixty times: none of them ever reads a torn row."""
    chance = random.Random(0)
    workers = [_started(_work_until_killed, tmp_path, number) for number in range(4)]
    for turn in range(60):
        time.sleep(chance.random() / 2)
        place = chance.randrange(4)
        workers[place].kill()
        workers[place].join()
        assert {worker.exitcode for worker in workers} <= {None, -signal.SIGKILL}
        workers[place] = _started(_work_until_killed, tmp_path, 4 + turn)
    for worker in workers:
        worker.kill()
        worker.join()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the last ones may have died while they wrote
        buffer = _buffer(tmp_path)
        assert not _torn(buffer[:]).any()
    assert len(buffer) == SIZE


def test_samplers_hear_of_rows_that_others_wrote(tmp_path: Path) -> None:
    """A pass of one buffer covers the rows written through another, after emptying too."""
    one, other = _buffer(tmp_path), _buffer(tmp_path, SamplerWithoutReplacement())
    one.extend(_checked_rows(0, 0, 3))
    assert sorted(other.sample(3)["number"].tolist()) == [0, 1, 2]
    one.extend(_checked_rows(0, 3, 2))
    assert sorted(other.sample(5)["number"].tolist()) == [0, 1, 2, 3, 4]
    one.empty()
    assert len(other) == 0
    assert other.add(_checked_rows(0, 9, 1)[0]) == 0
    assert one.add(_checked_rows(0, 10, 1)[0]) == 1
    one[0] = _checked_rows(0, 11, 1)[0]
    assert other[:]["number"].tolist() == [11, 10]
    assert one.extend(_checked_rows(0, 20, 3)).tolist() == [2, 3, 4]


def test_priorities_of_rows_that_others_wrote(tmp_path: Path) -> None:
    """Rows written through another buffer have the priority of new rows, also where an updated row was."""
    one, other = _buffer(tmp_path), _buffer(tmp_path, PrioritizedSampler(SIZE, 1.0, 1.0))
    one.extend(_checked_rows(0, 0, SIZE))
    other.sample(1)
    other.update_priority(torch.arange(SIZE), torch.full((SIZE,), 1e-9).index_fill(0, torch.tensor([5]), 1.0))
    one.extend(_checked_rows(0, SIZE, 2))
    assert set(other.sample(200)["index"].tolist()) == {0, 1, 5}


def test_a_state_is_loaded_for_all(tmp_path: Path) -> None:
    """A state that one buffer loads is what the other one sees and goes on from."""
    one, other = _buffer(tmp_path), _buffer(tmp_path)
    one.extend(_checked_rows(0, 0, SIZE + 3))
    state = one.state_dict()
    other.extend(_checked_rows(0, 200, 7))
    one.load_state_dict(state)
    assert other.add(_checked_rows(0, 300, 1)[0]) == 3


@pytest.mark.parametrize(
    "make", [ListStorage, LazyTensorStorage, LazyMemmapStorage, "folder"], ids=["list", "memory", "files", "folder"]
)
def test_buffers_on_one_storage_wait_for_each_other(make: Any, tmp_path: Path) -> None:
    """While one buffer uses the rows, no other buffer on the same storage does, in whichever thread."""
    storage = LazyMemmapStorage(6, scratch_dir=tmp_path) if make == "folder" else make(6)
    first, second = (ReplayBuffer(storage=storage, collate_fn=list) for _ in range(2))
    first.extend(torch.arange(3))
    if make in (ListStorage, LazyTensorStorage):
        copies = [copy.deepcopy(second), pickle.loads(pickle.dumps(second))]
        with first.storage.lock, ThreadPoolExecutor(1) as other:
            assert [other.submit(len, each[:]).result(60) for each in copies] == [3, 3]
    with ThreadPoolExecutor(1) as other:
        with first.storage.lock:
            waits = other.submit(second.add, torch.tensor(5))
            with pytest.raises(TimeoutError):
                waits.result(0.2)
        assert waits.result(60) is not None


def test_storages_of_one_buffer_have_a_plain_lock() -> None:
    """Storages that nobody else can open are locked against threads alone, and a writer without a ring is refused."""
    plain = type(ReplayBuffer()._lock)
    for storage in (LazyTensorStorage(3), LazyMemmapStorage(3)):
        assert type(buffer_lock("test", storage, RandomSampler(), RoundRobinWriter())) is plain


def test_buffers_on_one_folder_follow_each_other_without_a_lock(tmp_path: Path) -> None:
    """Two buffers used in turn on a folder that is not shared write one ring; each sampler knows all of its rows."""
    one = ReplayBuffer(
        storage=LazyMemmapStorage(6, scratch_dir=tmp_path), sampler=PrioritizedSampler(6, 1.0, 1.0, eps=0.0)
    )
    one.extend(torch.arange(2))
    other = ReplayBuffer(
        storage=LazyMemmapStorage(6, scratch_dir=tmp_path, existsok=True),
        sampler=PrioritizedSampler(6, 1.0, 1.0, eps=0.0),
    )
    other.extend(torch.arange(2, 5))
    assert one.extend(torch.arange(5, 7)).tolist() == [5, 0]
    assert other.add(torch.tensor(7)) == 1
    assert one[:].tolist() == other[:].tolist() == [6, 7, 2, 3, 4, 5]
    assert set(one.sample(6).tolist()) == set(other.sample(6).tolist()) == {2, 3, 4, 5, 6, 7}
