"""Storages on an accelerator: what the CPU gives, without a wait of the host for the device."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import simulated_device
import torch
from simulated_device import DEVICE, on_host, waits_recorded
from tensordict import TensorDict
from torch import Tensor

from rl_buffers import (
    FlatStorageCheckpointer,
    LazyMemmapStorage,
    LazyTensorStorage,
    ListStorage,
    Storage,
    TensorDictReplayBuffer,
    TensorStorageCheckpointer,
)

STORAGES: dict[str, Any] = {
    "tensor": lambda device: LazyTensorStorage(12, ndim=2, device=device),
    "first data": lambda device: LazyTensorStorage(12, ndim=2, device="auto"),
    "memmap": lambda device: LazyMemmapStorage(12, ndim=2, device=device),
}


def steps(first: int, count: int, device: str) -> TensorDict:
    """`[3, count]` steps."""
    number = torch.arange(3 * count).view(3, count) + first
    value = number.float().unsqueeze(-1)
    data = {"x": value.to(device), "next": {"x": (value + 1).to(device)}, "n": number.to(device)}
    return TensorDict(data, [3, count], device=device)


def filled(storage: Storage, device: str) -> TensorDictReplayBuffer:
    """A buffer that went around its ring once, with rows by batch and by step."""
    buffer = TensorDictReplayBuffer(storage=storage, batch_size=7, generator=torch.Generator().manual_seed(0))
    buffer.extend(steps(0, 3, device))
    buffer.add(steps(50, 1, device)[:, 0])
    buffer.extend(steps(100, 2, device))
    return buffer


def contents(name: str, device: str) -> tuple[list[int], list[int], list[str]]:
    """Everything stored, a batch, and the waits of storing and reading again."""
    buffer = filled(STORAGES[name](device), device)
    everything, batch = buffer[:], buffer.sample()
    assert batch["next", "x"].device.type == torch.device(device).type
    more, index = steps(200, 1, device), torch.arange(3).to(device)
    with waits_recorded() as waits:
        buffer.extend(more)
        buffer.storage.read(index)
    return _numbers(everything["n"]), _numbers(batch["n"]), waits


def restored(device: str, folder: str) -> list[list[int]]:
    """What buffers on the CPU and on the device load of a save made on the device, and the other way round."""
    found = []
    for number, checkpointer in enumerate((TensorStorageCheckpointer(), FlatStorageCheckpointer())):
        for origin, target in ((device, "cpu"), ("cpu", device)):
            path = Path(folder) / f"{number}-{origin}"
            filled(STORAGES["tensor"](origin), origin).dumps(path, checkpointer=checkpointer)
            other = TensorDictReplayBuffer(storage=STORAGES["tensor"](target), generator=torch.Generator())
            other.loads(path)
            found.append(_numbers(other[:]["n"]))
    return found


def frozen(device: str) -> list[list[int]]:
    """The rows of one moment, before others are written, and after."""
    buffer = filled(STORAGES["tensor"](device), device)
    rows = buffer.storage.freeze()
    found = [_numbers(rows.values()["n"])]
    buffer.extend(steps(300, 2, device))
    found.append(_numbers(rows.values()["n"]))
    rows.release()
    return [*found, [rows.copied]]


def device_of_rows(device: str) -> str:
    """Where a list storage keeps what came from the CPU."""
    storage = ListStorage(3, device=device)
    storage.write(0, storage.check_row({"x": torch.zeros(2)}, "test"))
    return str(storage.read_row(0)["x"].device.type)


def _numbers(values: Tensor) -> list[int]:
    numbers: list[int] = on_host(values).flatten().tolist()
    return numbers


@pytest.fixture(scope="module", name="elsewhere")
def fixture_elsewhere() -> Iterator[ProcessPoolExecutor]:
    """A process in which the accelerator is simulated."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def run(pool: ProcessPoolExecutor, name: str, *args: Any) -> Any:
    """What a function of this file returns on the simulated accelerator."""
    return pool.submit(simulated_device.call, __file__, name, *args).result()


@pytest.mark.parametrize("name", sorted(STORAGES))
def test_rows_are_those_of_the_cpu(name: str, elsewhere: ProcessPoolExecutor) -> None:
    """Rings of several lanes and batches are the same on the device, and nothing there waits."""
    expected = contents(name, "cpu")
    everything, batch, waits = run(elsewhere, "contents", name, DEVICE)
    assert (everything, batch) == expected[:2]
    if name != "memmap":
        assert waits == []


def test_saves_do_not_depend_on_the_device(elsewhere: ProcessPoolExecutor, tmp_path: Path) -> None:
    """A save made on a device loads on another one, in every format."""
    expected = contents("tensor", "cpu")[0]
    assert run(elsewhere, "restored", DEVICE, str(tmp_path)) == [expected] * 4


def test_a_save_under_way_does_not_depend_on_the_device(elsewhere: ProcessPoolExecutor) -> None:
    """Rows overwritten on a device while they are saved come from their copies; 2 steps of 3 lanes are 6 copies."""
    before, after, copied = run(elsewhere, "frozen", DEVICE)
    assert before == after == frozen("cpu")[0]
    assert copied == [6]


def test_lists_keep_rows_on_their_device(elsewhere: ProcessPoolExecutor) -> None:
    """Rows given on the CPU are moved."""
    assert run(elsewhere, "device_of_rows", DEVICE) == DEVICE
