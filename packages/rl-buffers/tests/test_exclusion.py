"""Methods of one buffer, called from several threads: none gets in while another one changes or reads the parts."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from rl_buffers import LazyMemmapStorage, LazyTensorStorage, Sampler, Storage, TensorDictReplayBuffer
from rl_buffers._prefetch import Lookahead, Steps

ROWS = TensorDict({"a": torch.arange(3)}, [3])


class Gate(Sampler):
    """Draws row 0. In the thread named "first" it stops inside every call until it is let go on."""

    def __init__(self) -> None:
        self.is_inside, self.may_go_on = threading.Event(), threading.Event()

    def _stop(self) -> None:
        if threading.current_thread().name == "first":
            self.is_inside.set()
            assert self.may_go_on.wait(60)

    def sample(
        self, storage: Storage, batch_size: int, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Row 0."""
        self._stop()
        return torch.zeros(batch_size, dtype=torch.int64), {}

    def restart(self) -> None:
        """A pass begins."""
        self._stop()

    def clear(self) -> None:
        """No rows are left."""
        self._stop()

    def extend(self, storage: Storage, index: Tensor) -> None:
        """Rows were written."""
        self._stop()

    def add(self, storage: Storage, index: int) -> None:
        """A row was written."""
        self._stop()

    def overwrite(self, storage: Storage, where: int | slice | Tensor) -> None:
        """Rows were replaced."""
        self._stop()

    def update_priority(self, index: Any, priority: Any, stamp: Tensor | None = None) -> None:
        """Rows have other priorities."""
        self._stop()

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        self._stop()
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""
        self._stop()


METHODS: dict[str, Callable[[TensorDictReplayBuffer, Path], object]] = {
    "add": lambda buffer, folder: buffer.add(ROWS[0]),
    "dumps": lambda buffer, folder: buffer.dumps(folder / "dumps"),
    "empty": lambda buffer, folder: buffer.empty(),
    "extend": lambda buffer, folder: buffer.extend(ROWS),
    "iterate": lambda buffer, folder: next(iter(buffer)),
    "load_state_dict": lambda buffer, folder: buffer.load_state_dict(torch.load(folder / "state")),
    "loads": lambda buffer, folder: buffer.loads(folder / "save"),
    "replace": lambda buffer, folder: buffer.__setitem__(0, ROWS[0]),
    "sample": lambda buffer, folder: buffer.sample(),
    "state_dict": lambda buffer, folder: buffer.state_dict(),
    "update_priority": lambda buffer, folder: buffer.update_priority(0, 1.0),
}
LATE: dict[str, Callable[[TensorDictReplayBuffer, Path], object]] = {
    **METHODS,
    "close": lambda buffer, folder: buffer.close(),
    "read": lambda buffer, folder: buffer[0],
    "transform": lambda buffer, folder: buffer.append_transform(lambda batch: batch),
}


@pytest.mark.parametrize("prefetch", [None, 2])
@pytest.mark.parametrize("first", METHODS)
def test_one_method_at_a_time(first: str, prefetch: int | None, tmp_path: Path) -> None:
    """While a thread is inside a method, all other ones wait in other threads, and end once it has."""
    gate = Gate()
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(5), sampler=gate, batch_size=2, prefetch=prefetch)
    buffer.extend(ROWS)
    buffer.dumps(tmp_path / "save")
    torch.save(buffer.state_dict(), tmp_path / "state")
    errors: list[BaseException] = []
    begun = threading.Semaphore(0)

    def call(method: Callable[[TensorDictReplayBuffer, Path], object]) -> None:
        try:
            begun.release()
            method(buffer, tmp_path)
        except BaseException as error:
            errors.append(error)

    holder = threading.Thread(target=call, args=(METHODS[first],), name="first")
    holder.start()
    assert gate.is_inside.wait(60)
    others = {name: threading.Thread(target=call, args=(method,), name=name) for name, method in LATE.items()}
    if prefetch is None:
        del others["close"]  # has nothing to do
    for thread in others.values():
        thread.start()
    for _ in range(1 + len(others)):
        assert begun.acquire(timeout=60)
    others["sample"].join(0.05)
    assert [name for name, thread in others.items() if not thread.is_alive()] == []
    gate.may_go_on.set()
    for thread in (holder, *others.values()):
        thread.join(60)
        assert not thread.is_alive()
    emptied = [error for error in errors if isinstance(error, IndexError) or "the buffer is empty" in str(error)]
    assert errors == emptied  # by another thread, shortly before
    buffer.close()


def test_buffers_on_shared_files_wait_for_each_other(tmp_path: Path) -> None:
    """While one buffer writes to shared files, another one on the same files neither reads nor writes."""
    gate = Gate()
    buffers = [
        TensorDictReplayBuffer(
            storage=LazyMemmapStorage(5, scratch_dir=tmp_path, shared_init=True), sampler=sampler, batch_size=2
        )
        for sampler in (gate, None)
    ]
    buffers[0].extend(ROWS)
    holder = threading.Thread(target=buffers[0].extend, args=(ROWS,), name="first")
    holder.start()
    assert gate.is_inside.wait(60)
    seen: list[Any] = []
    others = [
        threading.Thread(target=lambda: seen.append(len(buffers[1].sample()))),
        threading.Thread(target=lambda: seen.append(buffers[1].extend(ROWS).tolist())),
    ]
    for thread in others:
        thread.start()
    others[0].join(0.05)
    assert seen == []
    gate.may_go_on.set()
    for thread in (holder, *others):
        thread.join(60)
    assert sorted(map(str, seen)) == ["2", "[1, 2, 3]"]


def test_batches_taken_back_while_somebody_waits_for_them() -> None:
    """A batch that waits in the thread when the buffer changes is chosen anew, and rows are read under the lock."""
    lock, gate, arrived = threading.RLock(), threading.Event(), threading.Event()
    drawn: list[int] = []
    version = [0]

    def draw(count: int) -> tuple[Tensor, dict[str, Any]]:
        drawn.append(len(drawn))
        return torch.tensor(drawn[-1:]), {"version": version[0]}

    def read(index: Tensor, info: dict[str, Any]) -> tuple[int, bool]:
        return version[0], lock._is_owned()  # type: ignore[attr-defined]  # not in the stubs

    def finish(rows: tuple[int, bool], info: dict[str, Any]) -> tuple[int, bool]:
        if threading.current_thread().name.startswith("rl-buffers"):
            arrived.set()
            assert gate.wait(60)
        return rows

    steps = Steps(lock, lambda count, is_pass: count, draw, read, finish, lambda: None, lambda mark: None)
    ahead = Lookahead(2)
    taken: list[Any] = [ahead.take(1, False, steps) for _ in range(2)]
    assert arrived.wait(60)
    waiting = [threading.Thread(target=lambda: taken.append(ahead.take(1, False, steps))) for _ in range(2)]
    for number, thread in enumerate(waiting):
        thread.start()
        while len(drawn) < 5 + number:  # one more is chosen where one was taken
            thread.join(0.001)
    with lock:
        ahead.drop(lambda mark: None)
        version[0] = 1
    gate.set()
    for thread in waiting:
        thread.join(60)
    assert sorted(rows[0] for rows, _ in taken) == [0, 0, 0, 1]
    assert all(rows == (info["version"], True) for rows, info in taken)
    ahead.close()
