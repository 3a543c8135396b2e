"""Passes over trajectories."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from rl_buffers import LazyTensorStorage, SliceSamplerWithoutReplacement, TensorDictReplayBuffer


def _rows(lengths: list[int]) -> TensorDict:
    """Whole trajectories; `step` counts in each, `episode` counts them."""
    step = torch.cat([torch.arange(length) for length in lengths])
    episode = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    return TensorDict({"step": step, "episode": episode}, [len(step)])


def _buffer(
    lengths: list[int], batch_size: int, sampler: SliceSamplerWithoutReplacement, size: int = 64, seed: int = 0
) -> TensorDictReplayBuffer:
    generator = torch.Generator().manual_seed(seed)
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(size), sampler=sampler, generator=generator, batch_size=batch_size
    )
    buffer.extend(_rows(lengths))
    return buffer


@given(st.lists(st.integers(1, 6), min_size=1, max_size=9), st.integers(1, 3), st.integers(1, 3), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_pass_has_each_trajectory_once(lengths: list[int], length: int, count: int, drop_last: bool) -> None:
    """Iterations give one slice of each trajectory that is long enough, in full batches but for the last."""
    sampler = SliceSamplerWithoutReplacement(slice_len=length, drop_last=drop_last)
    buffer = _buffer(lengths, length * count, sampler)
    eligible = [number for number, steps in enumerate(lengths) if steps >= length]
    for _ in range(2):
        batches = list(buffer) if eligible else []
        episodes = [batch["episode"].view(-1, length) for batch in batches]
        found = [number for batch in episodes for number in batch[:, 0].tolist()]
        assert all((batch == batch[:, :1]).all() for batch in episodes)
        assert all(len(batch) == count for batch in (episodes if drop_last else episodes[:-1]))
        if drop_last:
            assert len(found) == len(set(found)) == len(eligible) - len(eligible) % count
        else:
            assert sorted(found) == eligible
        for batch in batches:
            step = batch["step"].view(-1, length)
            assert (step[:, 1:] - step[:, :-1] == 1).all()


def test_sample_goes_through_passes() -> None:
    """Calls of `sample` end a pass with a smaller batch, reshuffle, and place the slices anew."""
    buffer = _buffer([8] * 5, 8, SliceSamplerWithoutReplacement(num_slices=2))
    passes = [[buffer.sample() for _ in range(3)] for _ in range(2)]
    assert [[len(batch) for batch in one] for one in passes] == [[8, 8, 4]] * 2
    orders = [torch.cat([batch["episode"][::4] for batch in one]).tolist() for one in passes]
    assert all(sorted(order) == list(range(5)) for order in orders)
    assert orders[0] != orders[1]
    starts = [torch.cat([batch["step"][::4] for batch in one]).tolist() for one in passes]
    assert len({start for one in starts for start in one}) > 2
    assert passes[0][0]["next", "truncated"].squeeze(1).tolist() == ([False] * 3 + [True]) * 2


def test_writing_begins_a_new_pass() -> None:
    """After rows are written, added or replaced, the next pass has all trajectories then stored."""
    buffer = _buffer([4] * 4, 4, SliceSamplerWithoutReplacement(slice_len=2, shuffle=False))
    assert buffer.sample()["episode"][::2].tolist() == [3, 0]
    buffer.extend(_rows([4]).set("episode", torch.full((4,), 7)))
    assert buffer.sample()["episode"][::2].tolist() == [7, 0]
    buffer[2] = TensorDict({"step": torch.tensor(0), "episode": torch.tensor(50)})
    buffer[3] = TensorDict({"step": torch.tensor(1), "episode": torch.tensor(50)})
    episodes = [number for batch in buffer for number in batch["episode"][::2].tolist()]
    assert episodes == [7, 0, 50, 1, 2, 3]


def test_saved_in_the_middle_of_a_pass(tmp_path: Any) -> None:
    """After the ring went round, a pass that is saved goes on elsewhere bit by bit."""
    buffer, other = (
        _buffer([3, 4, 5, 6], 6, SliceSamplerWithoutReplacement(slice_len=3), size=20, seed=seed) for seed in (0, 1)
    )
    buffer.extend(_rows([3, 3, 3, 4]))
    buffer.sample()
    buffer.dumps(tmp_path)
    other.loads(tmp_path)
    for _ in range(6):
        assert torch.equal(buffer.sample()["index"], other.sample()["index"])


def test_too_few_trajectories() -> None:
    """None long enough is an error; so is, with `drop_last`, fewer than slices in a batch."""
    with pytest.raises(RuntimeError, match="no stored trajectory is as long as a slice"):
        _buffer([2, 2], 3, SliceSamplerWithoutReplacement(slice_len=3)).sample()
    assert len(_buffer([3, 3], 9, SliceSamplerWithoutReplacement(slice_len=3)).sample()) == 6
    buffer = _buffer([3, 3], 9, SliceSamplerWithoutReplacement(slice_len=3, drop_last=True))
    with pytest.raises(ValueError, match=r"full batches of 3 slices.*at most the 2 trajectories"):
        buffer.sample()
    assert list(buffer) == []


def test_short_ones_and_spans() -> None:
    """With `strict_length=False` and `span`, slices are cut at the ends of their trajectories."""
    sampler = SliceSamplerWithoutReplacement(slice_len=3, strict_length=False, span=(False, True))
    buffer = _buffer([1, 5], 6, sampler)
    lengths = set()
    for _ in range(60):
        batch = buffer.sample()
        assert (batch["episode"] == 0).sum() == 1
        lengths.add(int((batch["episode"] == 1).sum()))
    assert lengths == {1, 2, 3}
