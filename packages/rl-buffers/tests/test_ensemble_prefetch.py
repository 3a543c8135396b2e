"""Batches of several buffers, made ahead by a thread."""

import gc
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from rl_buffers import (
    HERReplayBuffer,
    LazyMemmapStorage,
    LazyTensorStorage,
    PrioritizedSampler,
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

SAMPLERS: dict[str, Any] = {
    "random": RandomSampler,
    "pass": SamplerWithoutReplacement,
    "prioritized": lambda: PrioritizedSampler(10, 0.7, 0.5),
}


def _rows(first: int, count: int) -> TensorDict:
    numbers = torch.arange(first, first + count)
    return TensorDict({"a": numbers, "in": {"b": numbers.double().view(-1, 1).expand(-1, 3)}}, [count])


def _ensemble(prefetch: int | None, sampler: str = "random", is_shared: bool = False, **options: Any) -> Any:
    """Two rings of 10 rows, the second with numbers from 1000 on; with one source of randomness, or with three."""
    generators = [torch.Generator().manual_seed(0 if is_shared else seed) for seed in range(3)]
    if is_shared:
        generators = generators[:1] * 3
    members = [
        TensorDictReplayBuffer(storage=LazyTensorStorage(10), sampler=SAMPLERS[sampler](), generator=generator)
        for generator in generators[:2]
    ]
    for number, member in enumerate(members):
        member.extend(_rows(1000 * number, 8))
    return ReplayBufferEnsemble(*members, generator=generators[2], batch_size=4, prefetch=prefetch, **options)


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("rl-buffers")]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["sample", "sample", "sample", "extend", "add", "replace", "member", "save", "append"]),
        st.integers(0, 1),
        st.integers(1, 12),
    ),
    max_size=20,
)


def _run(ensemble: ReplayBufferEnsemble, steps: list[tuple[str, int, int]]) -> list[list[float]]:
    seen: list[Any] = []
    first = 8
    for name, number, count in steps:
        member = ensemble[number]
        new = 1000 * number + first
        if name == "sample":
            try:
                batch, info = ensemble.sample(2 * (1 + count // 6), return_info=True)
            except SpecError as error:  # the ends of two passes differ in length
                seen.append(TensorDict({"failed": torch.tensor(len(str(error)))}))
                continue
            assert torch.equal(batch["index"], info["index"]["index"])
            seen += [batch, info["index"]]
        elif name == "extend":
            member.extend(_rows(new, count))
        elif name == "add":
            member.add(_rows(new, 1)[0])
        elif name == "replace":
            member[count % len(member)] = _rows(new, 1)[0]
        elif name == "member":
            seen.append(member.sample(count % len(member) + 1))
        elif name == "save":
            ensemble.load_state_dict(ensemble.state_dict())
        elif len(ensemble._transforms) < 3:
            ensemble.append_transform(lambda batch: batch.set("c", batch["a"] * 2))
        first += count
    batches = [batch for batch in seen if "a" in batch]
    assert all(torch.equal(batch["a"].double(), batch["in", "b"][..., 1]) for batch in batches)
    return [torch.cat([value.flatten().double() for value in batch.values(True, True)]).tolist() for batch in seen]


@given(STEPS, st.sampled_from(sorted(SAMPLERS)), st.integers(1, 3), st.booleans())
@settings(max_examples=60, deadline=None)
def test_prefetching_is_not_seen(steps: list[tuple[str, int, int]], sampler: str, depth: int, is_shared: bool) -> None:
    """Whatever is written to members, drawn from them and saved in between, batches are those made without it."""
    ahead, plain = _ensemble(depth, sampler, is_shared), _ensemble(None, sampler, is_shared)
    assert _run(ahead, steps) == _run(plain, steps)
    ahead.close()
    assert _run(ahead, steps) == _run(plain, steps)


def test_batches_are_made_ahead_in_another_thread() -> None:
    """From the second batch after a change on, transforms of members and of the whole run before they are asked for."""
    made: list[str] = []
    arrived = threading.Semaphore(0)

    def note(batch: TensorDict) -> TensorDict:
        made.append(threading.current_thread().name)
        arrived.release()
        return batch

    ensemble = _ensemble(2, transform=note)
    ensemble[0].append_transform(lambda batch: batch.set("thread", torch.tensor([threading.get_ident()] * len(batch))))
    ensemble[1].append_transform(lambda batch: batch.set("thread", torch.tensor([threading.get_ident()] * len(batch))))
    ensemble.sample()
    assert len(made) == 1
    ensemble.sample()
    for _ in range(4):
        assert arrived.acquire(timeout=20)
    others = [name for name in made if name != threading.current_thread().name]
    assert len(others) == 2
    assert all(name.startswith("rl-buffers-prefetch") for name in others)
    assert (ensemble.sample()["thread"] != threading.get_ident()).all()
    ensemble.close()


def test_an_overwritten_row_is_not_shown_under_its_old_number() -> None:
    """Batches that wait when rows of a member are overwritten are made anew."""
    ensemble = _ensemble(3)
    for first in range(10, 200, 10):
        ensemble.sample()
        ensemble.sample()
        for number in range(2):
            ensemble[number].empty()
            ensemble[number].extend(_rows(1000 * number + first, 10))
        batch, info = ensemble.sample(return_info=True)
        expected = 1000 * info["index"]["buffer_ids"].view(2, 1) + info["index"]["index"] + first
        assert torch.equal(batch["a"], expected)
    ensemble.close()


def test_what_goes_wrong_in_the_thread_reaches_the_caller() -> None:
    """The error of a member's transform is raised where its batch would have been returned; later ones are made."""
    calls = []

    def fail_sometimes(batch: TensorDict) -> TensorDict:
        calls.append(batch["a"])
        if len(calls) == 3:
            raise KeyError(f"call {len(calls)}")
        return batch

    ensemble, plain = _ensemble(2, sample_from_all=True), _ensemble(None, sample_from_all=True)
    ensemble[0].append_transform(fail_sometimes)
    expected = [plain.sample()["a"].tolist() for _ in range(4)]
    assert [ensemble.sample()["a"].tolist() for _ in range(2)] == expected[:2]
    with pytest.raises(KeyError, match="call 3"):
        ensemble.sample()
    assert ensemble.sample()["a"].tolist() == expected[3]
    with pytest.raises(ValueError, match="multiple of the 2 buffers"):
        ensemble.sample(5)
    ensemble[1].empty()
    with pytest.raises(RuntimeError, match="buffers 1 are empty"):
        ensemble.sample()
    ensemble.close()


@pytest.mark.parametrize("is_closed", [True, False])
def test_no_thread_is_left(is_closed: bool) -> None:
    """Closing the ensemble, and dropping it while its members live on, ends its thread; members can be used on."""
    assert _threads() == []
    ensemble = _ensemble(2)
    members = [ensemble[0], ensemble[1]]
    for _ in range(4):
        ensemble.sample()
    threads = _threads()
    assert len(threads) == 1
    if is_closed:
        ensemble.close()
        ensemble.close()
        assert ensemble.sample().shape == (2, 2)
    del ensemble
    gc.collect()
    threads[0].join(20)
    assert _threads() == []
    members[0].extend(_rows(8, 5))
    assert ReplayBufferEnsemble(*members, batch_size=2, prefetch=1).sample().shape == (2, 1)


def test_several_threads_write_and_sample() -> None:
    """While threads write to each member, every batch holds whole rows under their numbers, and all go on."""
    ensemble = _ensemble(2)
    for number in range(2):
        ensemble[number].extend(_rows(1000 * number + 10, 10))
        ensemble[number].empty()
        ensemble[number].extend(_rows(1000 * number, 10))
    errors: list[BaseException] = []
    stop = threading.Event()

    def write(number: int) -> None:
        first = 0
        while not stop.is_set():
            first = (first + 10) % 900
            ensemble[number].extend(_rows(1000 * number + first, 10))
            stop.wait(0.002)

    def read() -> None:
        try:
            for _ in range(60):
                batch, info = ensemble.sample(return_info=True)
                assert torch.equal(batch["a"] % 10, info["index"]["index"])
                assert torch.equal(batch["a"] // 1000, info["index"]["buffer_ids"].view(2, 1).expand(2, 2))
                assert torch.equal(batch["a"].double(), batch["in", "b"][..., 2])
        except BaseException as error:
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in readers:
        thread.join(120)
    stop.set()
    for thread in writers:
        thread.join(20)
    assert not any(thread.is_alive() for thread in (*readers, *writers))
    ensemble.close()
    assert errors == []


def test_members_of_other_kinds(tmp_path: Path) -> None:
    """Parts, rows in named files and rows relabelled in hindsight are made ahead too."""
    generator = torch.Generator().manual_seed(0)
    parts = ReplayBufferEnsemble(
        storages=StorageEnsemble(LazyTensorStorage(10), LazyMemmapStorage(10, scratch_dir=tmp_path)),
        samplers=SamplerEnsemble(RandomSampler(), SamplerWithoutReplacement(), sample_from_all=True),
        writers=WriterEnsemble(RoundRobinWriter(), RoundRobinWriter()),
        generator=generator,
        prefetch=2,
    )
    for number in range(2):
        parts[number].extend(torch.arange(10) + 10 * number)
    for _ in range(5):
        assert (parts.sample(4) // 10).tolist() == [[0] * 2, [1] * 2]
    parts.close()
    assert LazyMemmapStorage(10, scratch_dir=tmp_path, existsok=True).read(slice(0, 10)).tolist() == list(range(10, 20))

    goal = HERReplayBuffer(reward_fn=lambda *_: torch.full((6,), 5.0), her_ratio=1.0, storage=LazyTensorStorage(10))
    zeros, after = torch.zeros(4, 1), {"achieved_goal": torch.ones(4, 1), "reward": torch.zeros(4, 1)}
    rows = {"desired_goal": zeros, "next": {**after, "done": torch.ones(4, 1, dtype=torch.bool)}}
    goal.extend(TensorDict(rows, [4]))
    hindsight = ReplayBufferEnsemble(goal, sample_from_all=True, prefetch=2)
    for _ in range(5):
        assert hindsight.sample(6)["next", "reward"].flatten().tolist() == [5.0] * 6
    hindsight.close()


def test_what_cannot_be_made_ahead_is_refused(tmp_path: Path) -> None:
    """Members that make batches ahead themselves, those of another such ensemble, and storages of several processes."""
    with pytest.raises(ValueError, match=r"prefetch.*integer >= 0"):
        _ensemble(-1)
    own = TensorDictReplayBuffer(storage=LazyTensorStorage(4), prefetch=2)
    with pytest.raises(ValueError, match="to the ensemble alone"):
        ReplayBufferEnsemble(own, prefetch=1)
    shared = ReplayBuffer(storage=LazyMemmapStorage(4, scratch_dir=tmp_path, shared_init=True))
    with pytest.raises(ValueError, match="other processes"):
        ReplayBufferEnsemble(shared, prefetch=1)
    first = _ensemble(1)
    with pytest.raises(ValueError, match=r"another ensemble.*Close"):
        ReplayBufferEnsemble(first[0], prefetch=1)
    first.close()
    ReplayBufferEnsemble(first[0], prefetch=1).close()
