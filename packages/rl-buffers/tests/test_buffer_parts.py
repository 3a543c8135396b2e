"""What a buffer is made of, when that is made, and buffers as values: pickled, copied, handed to another process."""

import copy
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from rl_buffers import (
    CompressedListStorage,
    HERReplayBuffer,
    LazyMemmapStorage,
    LazyTensorStorage,
    ListStorage,
    PrioritizedReplayBuffer,
    PrioritizedSampler,
    PrioritizedSliceSampler,
    RandomSampler,
    RankPrioritizedSampler,
    ReplayBuffer,
    RoundRobinWriter,
    Sampler,
    SamplerWithoutReplacement,
    SliceSampler,
    SliceSamplerWithoutReplacement,
    Storage,
    TensorDictPrioritizedReplayBuffer,
    TensorDictReplayBuffer,
    TensorStorage,
    Writer,
)

SIZE = 12


def _rows(first: int, count: int) -> TensorDict:
    step = torch.arange(first, first + count)
    return TensorDict({"a": step, "next": {"done": (step % 4 == 3).unsqueeze(-1)}}, [count])


def _storage() -> Storage:
    return LazyTensorStorage(SIZE)


def negated(batch: TensorDictBase) -> TensorDictBase:
    """The batch with the sign of an entry turned."""
    return batch.set("a", -batch["a"])


def make_negated() -> Callable[[TensorDictBase], TensorDictBase]:
    """A transform."""
    return negated


def test_parts_may_be_made_by_callables() -> None:
    """A function, a lambda or a class in place of a part is called once, and the part is what it returns."""
    calls: list[str] = []

    def storage() -> Storage:
        calls.append("storage")
        return _storage()

    buffer = ReplayBuffer(storage=storage, sampler=SamplerWithoutReplacement, writer=RoundRobinWriter)
    buffer.extend(torch.arange(3))
    assert sorted(buffer.sample(3).tolist()) == [0, 1, 2]
    assert (type(buffer.sampler), type(buffer.writer)) == (SamplerWithoutReplacement, RoundRobinWriter)
    assert calls == ["storage"]
    for prioritized in (PrioritizedReplayBuffer, TensorDictPrioritizedReplayBuffer):
        made = prioritized(alpha=1.0, beta=1.0, storage=_storage, sampler=lambda: PrioritizedSampler(SIZE, 0.5, 0.5))
        assert (made.storage.max_size, type(made.sampler)) == (SIZE, PrioritizedSampler)


def test_parts_of_another_kind_are_refused() -> None:
    """What is no part, and what a callable makes that is none, is named with an example."""
    for wrong in (10, lambda: 10, [1], RandomSampler, LazyTensorStorage):
        with pytest.raises(TypeError, match=r"storage\. Expected an instance of Storage, .*such as LazyTensorStorage"):
            ReplayBuffer(storage=wrong)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(TypeError, match=r"sampler\. Expected an instance of Sampler, found 3"):
        PrioritizedReplayBuffer(alpha=1.0, beta=1.0, sampler=lambda: 3)  # type: ignore[arg-type]  # likewise
    with pytest.raises(TypeError, match="a sampler that keeps priorities"):
        PrioritizedReplayBuffer(alpha=1.0, beta=1.0, sampler=RandomSampler)


def test_a_factory_makes_the_transform() -> None:
    """`transform_factory` is called once, at first use, and what it makes acts as `transform` would."""
    calls: list[int] = []

    def factory() -> Callable[[TensorDictBase], TensorDictBase]:
        calls.append(1)
        return negated

    buffer = TensorDictReplayBuffer(storage=_storage, transform_factory=factory, batch_size=2)
    assert (buffer.initialized, calls) == (False, [])
    buffer.extend(_rows(1, 3))
    assert (buffer.initialized, calls) == (True, [1])
    assert (buffer.sample()["a"] < 0).all()
    with pytest.raises(ValueError, match="transform and transform_factory"):
        TensorDictReplayBuffer(transform=negated, transform_factory=factory)
    with pytest.raises(TypeError, match=r"transform_factory\. Expected a callable"):
        TensorDictReplayBuffer(transform_factory=3)  # type: ignore[arg-type]  # wrong on purpose
    assert TensorDictReplayBuffer(transform_factory=factory, delayed_init=False).initialized


@pytest.mark.parametrize("use", [len, lambda buffer: buffer.storage, lambda buffer: buffer.extend(torch.arange(2))])
def test_parts_are_made_once_at_first_use(use: Callable[[ReplayBuffer], object]) -> None:
    """With `delayed_init` nothing is made before the first call; of several threads that come at once one makes it."""
    calls: list[Storage] = []
    together = threading.Barrier(4)

    def storage() -> Storage:
        calls.append(_storage())
        return calls[-1]

    buffer = ReplayBuffer(storage=storage, delayed_init=True)
    assert "not built" in repr(buffer)
    assert calls == []

    def first() -> None:
        together.wait()
        use(buffer)

    threads = [threading.Thread(target=first) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert buffer.storage is calls[0]


def test_a_part_that_cannot_be_made_can_be_made_later() -> None:
    """An error in a callable reaches who uses the buffer first, and the next use tries again."""
    results = [RuntimeError("no disk"), None]

    def storage() -> Storage:
        error = results.pop(0)
        if error is not None:
            raise error
        return _storage()

    buffer = ReplayBuffer(storage=storage, delayed_init=True)
    with pytest.raises(RuntimeError, match="no disk"):
        buffer.extend(torch.arange(2))
    assert not buffer.initialized
    buffer.extend(torch.arange(2))
    assert len(buffer) == 2


def test_shared_rows_are_asserted(tmp_path: Path) -> None:
    """`shared=True` and `share()` hold for storages that processes share; others are told which to take."""
    shared = LazyMemmapStorage(SIZE, scratch_dir=tmp_path, shared_init=True)
    buffer = ReplayBuffer(storage=shared, shared=True)
    assert buffer.share() is buffer
    with pytest.raises(ValueError, match=r"is not shared between processes\. Give it LazyTensorStorage"):
        ReplayBuffer(storage=_storage, shared=True)
    plain = ReplayBuffer(storage=_storage)
    assert plain.share(False) is plain
    with pytest.raises(ValueError, match="is not shared between processes"):
        plain.share()
    with pytest.raises(ValueError, match="compilable=True"):
        ReplayBuffer(storage=shared, compilable=True)
    assert ReplayBuffer(storage=_storage, compilable=True).initialized


SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "random": RandomSampler,
    "without": SamplerWithoutReplacement,
    "prioritized": lambda: PrioritizedSampler(SIZE, 0.7, 0.5),
    "rank": lambda: RankPrioritizedSampler(SIZE, 0.7, 0.5),
    "slices": lambda: SliceSampler(slice_len=2),
    "slices without": lambda: SliceSamplerWithoutReplacement(slice_len=2),
    "prioritized slices": lambda: PrioritizedSliceSampler(SIZE, 0.7, 0.5, slice_len=2),
}


def _pickled(buffer: Any) -> Any:
    return pickle.loads(pickle.dumps(buffer))


def _sent(buffer: Any) -> Any:
    return ForkingPickler.loads(ForkingPickler.dumps(buffer))


@pytest.mark.parametrize("copied", [_pickled, copy.deepcopy, _sent], ids=["pickle", "deepcopy", "sent"])
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS.keys())
def test_copies_give_the_same_batches_and_are_independent(
    sampler: Callable[[], Sampler], copied: Callable[[Any], Any]
) -> None:
    """A buffer that was pickled, copied or sent to a process goes on as the original would, on rows of its own."""
    for storage in (_storage, lambda: TensorStorage(_rows(0, SIZE)), lambda: ListStorage(SIZE)):
        buffer = TensorDictReplayBuffer(
            storage=storage, sampler=sampler(), batch_size=4, generator=torch.Generator().manual_seed(0)
        )
        buffer.extend(_rows(100, 9))
        buffer.extend(_rows(200, 5))
        if buffer.sampler.keeps_priorities:
            buffer.update_priority(torch.arange(4), torch.arange(1.0, 5.0))
        buffer.sample()
        before = buffer[:]
        again = copied(buffer)
        for first in (300, 400):
            one, other = buffer.sample(), again.sample()
            assert (one == other).all()
            assert torch.equal(buffer.extend(_rows(first, 3)), again.extend(_rows(first, 3)))
        again.extend(_rows(500, SIZE))
        assert not (buffer[:]["a"] >= 500).any()
        assert not (before["a"] >= 300).any()


def test_other_parts_are_copied_too(tmp_path: Path) -> None:
    """Transforms, prefetching, compressed rows, hindsight and buffers that are not built yet survive pickling."""
    buffer = TensorDictReplayBuffer(storage=CompressedListStorage(SIZE), transform=negated, prefetch=2, batch_size=3)
    buffer.extend(_rows(1, 5))
    buffer.sample()
    again = _pickled(buffer)
    assert (again.sample()["a"] < 0).all()
    buffer.close()
    again.close()
    late = _pickled(TensorDictReplayBuffer(storage=_storage, transform_factory=make_negated, delayed_init=True))
    assert not late.initialized
    late.extend(_rows(1, 5))
    assert (late.sample(2)["a"] < 0).all()
    assert late.storage.max_size == SIZE
    hindsight = HERReplayBuffer(reward_fn=_reward, storage=_storage(), generator=torch.Generator().manual_seed(0))
    goal = torch.arange(6.0).view(-1, 1)
    after = {"achieved_goal": goal, "reward": goal, "done": goal > 10}
    hindsight.extend(TensorDict({"desired_goal": goal, "next": after}, [6]))
    assert (_pickled(hindsight).sample(4) == hindsight.sample(4)).all()


def _reward(achieved: torch.Tensor, desired: torch.Tensor, batch: TensorDictBase) -> torch.Tensor:
    return (achieved == desired).float()


def test_files_are_opened_again_and_not_copied(tmp_path: Path) -> None:
    """A pickled buffer on named files opens them, and its sampler knows what it knew; files are not copied."""
    buffer = TensorDictReplayBuffer(
        storage=LazyMemmapStorage(SIZE, scratch_dir=tmp_path / "rows", shared_init=True),
        sampler=PrioritizedSampler(SIZE, 1.0, 1.0, eps=0.0),
    )
    buffer.extend(_rows(0, SIZE))
    buffer.update_priority(torch.arange(SIZE), torch.zeros(SIZE))
    buffer.update_priority(5, 2.0)
    again = _pickled(buffer)
    assert set(again.sample(4)["a"].tolist()) == {5}
    again.extend(_rows(70, 2))
    assert buffer[:]["a"][:3].tolist() == [70, 71, 2]
    with pytest.raises(TypeError, match=r"cannot be copied by copy\.deepcopy"):
        copy.deepcopy(buffer)
    nameless = TensorDictReplayBuffer(storage=LazyMemmapStorage(SIZE))
    with pytest.raises(TypeError, match="files without a name"):
        pickle.dumps(nameless)


def test_shared_memory_is_handed_on_and_not_copied() -> None:
    """A pickled buffer on shared memory uses that memory, and deepcopy refuses to make what would be no copy."""
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(SIZE, shared_init=True), shared=True)
    buffer.extend(_rows(0, 4))
    again = _pickled(buffer)
    again.extend(_rows(70, 2))
    assert buffer[:]["a"].tolist() == again[:]["a"].tolist() == [0, 1, 2, 3, 70, 71]
    with pytest.raises(TypeError, match=r"shared memory cannot be copied by copy\.deepcopy"):
        copy.deepcopy(buffer)


PROGRAM = """
import pickle, sys, torch
from tensordict import TensorDict
buffer = pickle.loads(open(sys.argv[1], "rb").read())
buffer.extend(TensorDict({"a": torch.arange(50, 53), "next": {"done": torch.zeros(3, 1, dtype=torch.bool)}}, [3]))
print(len(buffer), buffer.sample(2).batch_size[0])
"""


def test_a_buffer_is_handed_to_a_process(tmp_path: Path) -> None:
    """Another process takes a pickled buffer; what it writes to shared rows is here, too."""
    buffer = TensorDictReplayBuffer(
        storage=LazyMemmapStorage(SIZE, scratch_dir=tmp_path / "rows", shared_init=True), shared=True
    )
    buffer.extend(_rows(0, 4))
    (tmp_path / "buffer").write_bytes(pickle.dumps(buffer))
    run = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / "buffer")], capture_output=True, text=True)
    assert run.stdout.split() == ["7", "2"], run.stderr
    assert buffer[:]["a"].tolist() == [0, 1, 2, 3, 50, 51, 52]


def test_writers_made_by_callables_are_theirs() -> None:
    """A class given for several buffers makes a writer for each."""
    writers: list[Writer] = [ReplayBuffer(writer=RoundRobinWriter).writer for _ in range(2)]
    assert writers[0] is not writers[1]
