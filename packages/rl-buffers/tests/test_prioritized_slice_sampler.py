"""Slices that begin in rows drawn by priority."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from rl_buffers import (
    LazyTensorStorage,
    ListStorage,
    PrioritizedSliceSampler,
    SliceSampler,
    TensorDictPrioritizedReplayBuffer,
    TensorDictReplayBuffer,
)


def _rows(flags: list[bool], ids: list[int]) -> TensorDict:
    done = torch.tensor(flags, dtype=torch.bool).view(-1, 1)
    return TensorDict({"id": torch.tensor(ids), "next": {"done": done}}, [len(flags)])


def _episodes(*lengths: int) -> TensorDict:
    flags = [step == length - 1 for length in lengths for step in range(length)]
    return _rows(flags, [number for number, length in enumerate(lengths) for _ in range(length)])


def _buffer(size: int, sampler: PrioritizedSliceSampler, seed: int = 0) -> TensorDictReplayBuffer:
    generator = torch.Generator().manual_seed(seed)
    return TensorDictReplayBuffer(storage=LazyTensorStorage(size), sampler=sampler, generator=generator)


def _starts(index: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    return index[torch.cat([torch.tensor([True]), ends.squeeze(1)[:-1]])]


def test_first_rows_are_drawn_by_priority() -> None:
    """First rows are as frequent as their priorities among those that a slice may begin in (chi-square)."""
    sampler = PrioritizedSliceSampler(20, 1.0, 0.5, eps=0.0, slice_len=3)
    buffer = _buffer(20, sampler)
    buffer.extend(_episodes(6, 2, 5))
    buffer.update_priority(torch.arange(13), torch.arange(1.0, 14.0))
    batch = buffer.sample(3 * 9000)
    counts = torch.bincount(batch["index"][::3], minlength=13).double()
    expected = torch.zeros(13, dtype=torch.float64)
    expected[[0, 1, 2, 3, 8, 9, 10]] = torch.tensor([1.0, 2, 3, 4, 9, 10, 11], dtype=torch.float64)
    expected *= 9000 / expected.sum()
    is_start = expected > 0
    assert counts[~is_start].sum() == 0
    assert ((counts - expected)[is_start] ** 2 / expected[is_start]).sum() < 27.9
    weight = batch["_weight"].view(-1, 3)
    assert (weight == weight[:, :1]).all()
    torch.testing.assert_close(weight[:, 0], (1.0 / (batch["index"][::3] + 1.0)) ** 0.5)
    assert batch["next", "truncated"].view(-1, 3).any(0).tolist() == [False, False, True]


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["extend", "add", "set", "priority", "save", "empty"]), st.integers(0, 255)),
    min_size=1,
    max_size=25,
)


@given(st.integers(2, 12), st.integers(1, 4), st.booleans(), st.sampled_from(["end_key", "traj_key"]), ACTIONS)
@settings(max_examples=120, deadline=None)
def test_starts_are_those_of_the_index(
    size: int, length: int, is_strict: bool, key: str, actions: list[tuple[str, int]]
) -> None:
    """After any writes, slices may begin where the index of trajectories says, with the priorities of these rows."""
    keys: dict[str, Any] = {"end_key": ("next", "done")} if key == "end_key" else {"traj_key": "id"}

    def make() -> tuple[TensorDictReplayBuffer, PrioritizedSliceSampler]:
        sampler = PrioritizedSliceSampler(size, 1.0, 0.5, slice_len=length, strict_length=is_strict, **keys)
        return _buffer(size, sampler), sampler

    buffer, sampler = make()
    plain = _buffer(size, SliceSampler(slice_len=length, strict_length=is_strict, **keys))  # type: ignore[arg-type]  # takes any
    number = 0
    for action, value in actions:
        if action in ("extend", "add"):
            count = 1 if action == "add" else value % (2 * size) + 1
            flags = [(value >> position % 8) % 2 == 1 for position in range(count)]
            rows = _rows(flags, [number + sum(flags[:position]) for position in range(count)])
            number += sum(flags)
            for each in (buffer, plain):
                _ = each.extend(rows) if action == "extend" else each.add(rows[0])
        elif action == "set" and len(buffer):
            row = _rows([value % 2 == 1], [value % 4])
            for each in (buffer, plain):
                each[value % len(buffer)] = row[0]
        elif action == "priority" and len(buffer):
            buffer.update_priority(value % len(buffer), float(value))
        elif action == "save":
            state = buffer.state_dict()
            buffer, sampler = make()
            buffer.load_state_dict(state)
        elif action == "empty":
            buffer.empty()
            plain.empty()
        if value % 3 == 0 or not len(buffer):
            continue
        starts = sampler._starts
        starts.update(buffer.storage, length, sampler._rows.leaves)
        assert starts.lengths(torch.arange(size).numpy()).tolist() == _reference(plain, size, length, is_strict)
        expected = sampler._rows.leaves * (starts.lengths(torch.arange(size).numpy()) > 0)
        assert starts.tree.leaves.tolist() == expected.tolist()
        assert starts.count == int((expected > 0).sum())


def _reference(plain: TensorDictReplayBuffer, size: int, length: int, is_strict: bool) -> list[int]:
    sampler = plain.sampler
    assert isinstance(sampler, SliceSampler)
    source = sampler._source
    source.update(plain.storage, source.cut(length))
    found = [0] * size
    first, steps = source.index.extents(source.index.slots())
    for row, count in zip(source.index.ring.rows_of(torch.from_numpy(first)).tolist(), steps.tolist(), strict=True):
        if 0 < count < length and not is_strict:
            found[row] = count
        for offset in range(count - length + 1):
            found[(row + offset) % size] = length
    return found


def test_saved_and_loaded(tmp_path: Any) -> None:
    """Saved after the ring went round, the next batches elsewhere are equal bit by bit, also after more writes."""
    buffer, other = (_buffer(16, PrioritizedSliceSampler(16, 0.7, 0.5, num_slices=2), seed=seed) for seed in (0, 1))
    buffer.extend(_episodes(7, 5))
    buffer.extend(_episodes(4, 6))
    buffer.update_priority(torch.arange(16), torch.rand(16))
    buffer.sample(6)
    buffer.dumps(tmp_path)
    other.loads(tmp_path)
    for _ in range(3):
        left, right = buffer.sample(6), other.sample(6)
        assert torch.equal(left["index"], right["index"])
        assert torch.equal(left["_weight"], right["_weight"])
        for each in (buffer, other):
            each.extend(_episodes(5))
            each.update_priority(left["index"], torch.arange(6.0), left["_stamp"])


def test_in_a_buffer_of_priorities() -> None:
    """A buffer that takes priorities from batches gives those of the rows; rows overwritten since keep theirs."""
    sampler = PrioritizedSliceSampler(10, 1.0, 1.0, slice_len=2)
    buffer = TensorDictPrioritizedReplayBuffer(
        alpha=1.0, beta=1.0, storage=LazyTensorStorage(10), sampler=sampler, batch_size=4
    )
    buffer.extend(_episodes(5, 5))
    batch = buffer.sample()
    batch["td_error"] = torch.full((4,), 7.0)
    buffer.update_tensordict_priority(batch)
    assert sampler.max_priority == pytest.approx(7.0)


def test_short_trajectories_and_lists() -> None:
    """With `strict_length=False` short trajectories are drawn whole; rows may be kept in a list."""
    sampler = PrioritizedSliceSampler(10, 1.0, 1.0, slice_len=3, strict_length=False)
    buffer = TensorDictReplayBuffer(storage=ListStorage(10), sampler=sampler)
    buffer.extend(_episodes(2, 4))
    batch = buffer.sample(3 * 40)
    assert set(_starts(batch["index"], batch["next", "truncated"]).tolist()) == {0, 2, 3}


def test_nothing_to_draw() -> None:
    """No trajectory long enough, and no priority above 0, are errors."""
    buffer = _buffer(10, PrioritizedSliceSampler(10, 1.0, 1.0, eps=0.0, slice_len=3))
    buffer.extend(_episodes(2, 2))
    with pytest.raises(RuntimeError, match="no stored trajectory is as long as a slice"):
        buffer.sample(3)
    buffer.extend(_episodes(3))
    buffer.update_priority(4, 0.0)
    with pytest.raises(RuntimeError, match="priority 0"):
        buffer.sample(3)


def test_the_argument_of_slice_samplers_that_changes_nothing() -> None:
    """`cache_values` is accepted, as by `SliceSampler`: trajectories are indexed as rows are written in either case."""
    sampler = PrioritizedSliceSampler(8, 1.0, 1.0, slice_len=2, cache_values=True)
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(8), sampler=sampler)
    for first in (0, 4):
        done = torch.tensor([False, False, False, True]).unsqueeze(-1)
        buffer.extend(TensorDict({"a": torch.arange(first, first + 4), "next": {"done": done}}, [4]))
        starts = {int(start) for _ in range(40) for start in buffer.sample(8)["a"][::2]}
        assert starts == {0, 1, 2} | ({4, 5, 6} if first else set())
