"""Tensors in memory, shared between processes."""

import errno
import gc
import multiprocessing
import os
import pickle
import signal
import time
import warnings
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier

import pytest
import torch
from tensordict import TensorDict

from rl_buffers import (
    LazyTensorStorage,
    ReplayBuffer,
    SamplerWithoutReplacement,
    Storage,
    TensorDictReplayBuffer,
)

METHODS = ["fork", "spawn"]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> None:
    """Fresh interpreters find this file, whose functions they run, from the folder that tests are named after."""
    monkeypatch.syspath_prepend(pytestconfig.rootpath)


def _rows(writer: int, first: int, count: int) -> TensorDict:
    number = torch.arange(first, first + count) + 1000 * writer
    return TensorDict({"number": number, "wide": number.double().view(-1, 1).expand(-1, 50)}, [count])


def _assert_whole(batch: TensorDict) -> None:
    assert torch.equal(batch["wide"], batch["number"].double().view(-1, 1).expand(-1, 50))


def _store(storage: Storage, barrier: Barrier, writer: int, rounds: int) -> None:
    """Store rows as soon as the others do, and look at those of all."""
    torch.set_num_threads(1)
    buffer = TensorDictReplayBuffer(storage=storage, sampler=SamplerWithoutReplacement(), batch_size=4)
    barrier.wait(60)
    for turn in range(rounds):
        buffer.extend(_rows(writer, 4 * turn, 3))
        buffer.add(_rows(writer, 4 * turn + 3, 1)[0])
        _assert_whole(buffer.sample())


def _started(method: str, target: Callable[..., None], *arguments: object) -> BaseProcess:
    process = multiprocessing.get_context(method).Process(target=target, args=arguments)  # type: ignore[attr-defined]  # the stub's base has none
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking a process with threads
        process.start()
    assert isinstance(process, BaseProcess)
    return process


def _finished(process: BaseProcess) -> int | None:
    process.join(120)
    code = process.exitcode
    process.kill()
    return code


@pytest.mark.parametrize("method", METHODS)
def test_the_first_process_to_store_decides_for_all(method: str) -> None:
    """Two processes that get a storage without data and store at once have one table: no row is lost or torn."""
    storage = LazyTensorStorage(100, shared_init=True)
    barrier = multiprocessing.get_context(method).Barrier(2)
    workers = [_started(method, _store, storage, barrier, number, 10) for number in range(2)]
    assert [_finished(worker) for worker in workers] == [0, 0]
    buffer = TensorDictReplayBuffer(storage=storage, batch_size=4)
    assert len(buffer) == 80
    expected = [1000 * writer + row for writer in range(2) for row in range(40)]
    assert sorted(buffer[:]["number"].tolist()) == expected
    _assert_whole(buffer[:])
    assert buffer.add(_rows(5, 0, 1)[0]) == 80


@pytest.mark.parametrize("method", METHODS)
def test_a_storage_with_data_is_shared(method: str) -> None:
    """Rows stored before a process starts are seen by it, and those that it stores by a buffer that was there."""
    storage = LazyTensorStorage(10, shared_init=True)
    buffer = TensorDictReplayBuffer(storage=storage, sampler=SamplerWithoutReplacement(), batch_size=4)
    buffer.extend(_rows(7, 0, 8))
    barrier = multiprocessing.get_context(method).Barrier(1)
    assert _finished(_started(method, _store, storage, barrier, 1, 1)) == 0
    assert len(buffer) == 10
    expected = [1002, 1003, *range(7002, 7008), 1000, 1001]
    assert buffer[:]["number"].tolist() == expected
    assert sorted(buffer.sample(10)["number"].tolist()) == sorted(expected)


def _wait(storage: Storage, barrier: Barrier) -> None:
    barrier.wait(60)
    time.sleep(60)


def test_the_memory_is_freed_in_the_end() -> None:
    """A process that ends or is killed leaves the memory to the one that made it, which frees it with the storage."""
    gc.collect()
    storage = LazyTensorStorage(10, shared_init=True)
    folder = storage.scratch_dir
    assert folder is not None
    ReplayBuffer(storage=storage).extend(torch.arange(3))
    barrier = multiprocessing.get_context("fork").Barrier(2)
    worker = _started("fork", _wait, storage, barrier)
    barrier.wait(60)
    worker.kill()
    assert _finished(worker) == -signal.SIGKILL
    assert _finished(_started("fork", _store_numbers, storage)) == 0
    assert folder.is_dir()
    assert ReplayBuffer(storage=storage)[:].tolist() == [0, 1, 2, 7]
    del storage
    gc.collect()
    assert not folder.exists()


def _store_numbers(storage: Storage) -> None:
    ReplayBuffer(storage=storage).extend(torch.tensor([7]))


def test_files_stay_where_they_are_to() -> None:
    """With `cleanup_memmap=False` the files outlive the storage."""
    storage = LazyTensorStorage(10, shared_init=True, cleanup_memmap=False)
    folder = storage.scratch_dir
    ReplayBuffer(storage=storage).extend(torch.arange(3))
    storage.close()
    assert folder is not None
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "ring.bin", "storage.json", "table_0.bin"]
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def test_lanes_are_shared() -> None:
    """A pickled storage of several lanes has the same rows, and the lanes that the first data gave."""
    storage = LazyTensorStorage(12, ndim=2, shared_init=True)
    copy = pickle.loads(pickle.dumps(storage))
    one, other = ReplayBuffer(storage=storage), ReplayBuffer(storage=copy)
    other.extend(torch.arange(6).view(2, 3))
    one.extend(torch.arange(10, 12).view(2, 1))
    assert other[:].tolist() == [[0, 1, 2, 10], [3, 4, 5, 11]]
    assert (copy.lanes, storage.lanes) == (2, 2)


def test_what_is_not_shared_is_pickled_whole() -> None:
    """Without `shared_init` a pickled storage is a copy of its own, without a folder."""
    storage = LazyTensorStorage(5)
    buffer = ReplayBuffer(storage=storage)
    buffer.extend(torch.arange(4))
    copy = pickle.loads(pickle.dumps(storage))
    ReplayBuffer(storage=copy).extend(torch.tensor([9]))
    assert len(storage) == 4
    assert ReplayBuffer(storage=copy)[:].tolist() == [0, 1, 2, 3, 9]
    assert storage.scratch_dir is None


def test_shared_memory_is_on_the_cpu_and_may_be_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another device is refused, and memory without room is an error before anything is written."""
    for device in ("meta", "auto"):
        with pytest.raises(ValueError, match=r"device with shared_init=True.*Expected cpu"):
            LazyTensorStorage(5, device=device, shared_init=True)

    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    buffer = ReplayBuffer(storage=LazyTensorStorage(1000, shared_init=True))
    with pytest.raises(OSError, match=r"LazyTensorStorage: no room for 1,600 bytes.*LazyMemmapStorage"):
        buffer.extend(torch.zeros(100, 4))
    assert len(buffer) == 0
