"""Samplers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_buffers import LazyTensorStorage, RandomSampler, ReplayBuffer, SamplerWithoutReplacement


def _filled(count: int, sampler: SamplerWithoutReplacement | RandomSampler, batch_size: int = 4) -> ReplayBuffer:
    generator = torch.Generator().manual_seed(0)
    buffer = ReplayBuffer(storage=LazyTensorStorage(64), sampler=sampler, batch_size=batch_size, generator=generator)
    buffer.extend(torch.arange(count))
    return buffer


def test_random_sampler_is_uniform() -> None:
    """Counts of 20,000 draws over 20 rows have a chi-square statistic below its 99.99 % quantile (19 degrees: 53)."""
    buffer = _filled(20, RandomSampler())
    counts = torch.bincount(buffer.sample(20_000), minlength=20).double()
    assert ((counts - 1000) ** 2 / 1000).sum() < 53


def test_random_sampler_repeats_rows_and_exceeds_their_number() -> None:
    """Drawing is with replacement: more rows than stored may be asked for."""
    batch = _filled(3, RandomSampler()).sample(50)
    assert batch.shape == (50,)
    assert set(batch.tolist()) == {0, 1, 2}


def test_random_sampler_iterates_without_end() -> None:
    """Iteration goes on past any number of passes."""
    batches = iter(_filled(3, RandomSampler(), batch_size=2))
    assert all(len(next(batches)) == 2 for _ in range(20))


def test_generator_decides_the_batches() -> None:
    """Equal generators give equal batches, and the global generator is left alone."""
    state = torch.get_rng_state()
    for make in (RandomSampler, SamplerWithoutReplacement):
        assert torch.equal(_filled(30, make()).sample(9), _filled(30, make()).sample(9))
    assert torch.equal(torch.get_rng_state(), state)


def test_without_generator_the_global_one_is_used() -> None:
    """`torch.manual_seed` makes batches repeatable when the buffer has no generator."""
    for sampler in (RandomSampler(), SamplerWithoutReplacement()):
        buffer = ReplayBuffer(storage=LazyTensorStorage(64), sampler=sampler)
        buffer.extend(torch.arange(40))
        torch.manual_seed(3)
        first = buffer.sample(10)
        sampler.restart()
        torch.manual_seed(3)
        assert torch.equal(buffer.sample(10), first)


@given(st.integers(1, 64), st.integers(1, 70), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_pass_has_each_row_once(count: int, batch_size: int, drop_last: bool, shuffle: bool) -> None:
    """Two iterations each give every row once, in full batches but for the last (which `drop_last` leaves out)."""
    buffer = _filled(count, SamplerWithoutReplacement(drop_last=drop_last, shuffle=shuffle), batch_size)
    for _ in range(2):
        batches = [batch.tolist() for batch in buffer]
        rows = [row for batch in batches for row in batch]
        assert all(len(batch) == batch_size for batch in batches[:-1])
        if drop_last:
            assert len(rows) == count - count % batch_size
            assert len(set(rows)) == len(rows)
            assert all(len(batch) == batch_size for batch in batches)
        else:
            assert sorted(rows) == list(range(count))
        if not shuffle:
            assert rows == list(range(len(rows)))


def test_sample_goes_through_passes() -> None:
    """Calls of `sample` give each row once a pass, end a pass with a smaller batch, and reshuffle for the next."""
    buffer = _filled(10, SamplerWithoutReplacement())
    passes = [[buffer.sample(4) for _ in range(3)] for _ in range(2)]
    assert [[len(batch) for batch in one] for one in passes] == [[4, 4, 2]] * 2
    orders = [torch.cat(one).tolist() for one in passes]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders[0] != orders[1]


def test_drop_last_in_sample() -> None:
    """With `drop_last` every batch of `sample` is full, and none repeats a row."""
    buffer = _filled(10, SamplerWithoutReplacement(drop_last=True))
    batches = [buffer.sample(4) for _ in range(6)]
    assert all(len(set(batch.tolist())) == 4 for batch in batches)
    assert all(len(set(torch.cat(pair).tolist())) == 8 for pair in (batches[0:2], batches[2:4], batches[4:6]))


def test_writing_begins_a_new_pass() -> None:
    """After `extend` or `add` in the middle of a pass, the next pass has all rows then stored."""
    buffer = _filled(8, SamplerWithoutReplacement(), batch_size=3)
    buffer.sample()
    buffer.extend(torch.arange(8, 10))
    assert sorted(torch.cat([buffer.sample(5), buffer.sample(5)]).tolist()) == list(range(10))
    buffer.sample(5)
    buffer.add(torch.tensor(10))
    assert sorted(torch.cat([buffer.sample(6), buffer.sample(6)]).tolist()) == list(range(11))


def test_an_iteration_left_early_does_not_shorten_the_next() -> None:
    """Leaving a loop in the middle and iterating again gives a whole pass."""
    buffer = _filled(10, SamplerWithoutReplacement())
    for _ in buffer:
        break
    assert sorted(torch.cat(list(buffer)).tolist()) == list(range(10))


def test_more_rows_than_stored_without_replacement_is_an_error() -> None:
    """Asking for more than there is names both numbers; an iteration gives one small batch instead."""
    buffer = _filled(5, SamplerWithoutReplacement(), batch_size=8)
    with pytest.raises(ValueError, match=r"batch of 8 rows.*at most the 5 rows"):
        buffer.sample()
    assert [len(batch) for batch in buffer] == [5]


def test_writing_to_an_index_leaves_the_pass_alone() -> None:
    """Writing to the index of a batch does not change which rows come next."""
    buffer = _filled(6, SamplerWithoutReplacement(shuffle=False))
    _, info = buffer.sample(3, return_info=True)
    assert info["index"].tolist() == [0, 1, 2]
    buffer.sample(1, return_info=True)[1]["index"].fill_(0)
    assert buffer.sample(2).tolist() == [4, 5]
    assert buffer.sample(6).tolist() == [0, 1, 2, 3, 4, 5]


def test_overwriting_rows_does_not_begin_a_new_pass() -> None:
    """Rows replaced in place change neither order nor position of the pass; writing new ones does."""
    buffer = _filled(6, SamplerWithoutReplacement(), batch_size=2)
    seen = buffer.sample().tolist()
    buffer[0] = torch.tensor(0)
    buffer[:3] = torch.arange(3)
    seen += buffer.sample().tolist() + buffer.sample().tolist()
    assert sorted(seen) == list(range(6))
