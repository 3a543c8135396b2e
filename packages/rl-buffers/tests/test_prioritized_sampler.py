"""Draws in proportion to priorities."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rl_buffers import (
    LazyTensorStorage,
    LinearAnnealing,
    PrioritizedSampler,
    RandomSampler,
    ReplayBuffer,
    TensorStorage,
)


def _buffer(sampler: PrioritizedSampler, capacity: int = 8, seed: int = 0) -> ReplayBuffer:
    generator = torch.Generator().manual_seed(seed)
    return ReplayBuffer(storage=LazyTensorStorage(capacity), sampler=sampler, generator=generator)


def _filled(
    priority: list[float], sampler: PrioritizedSampler | None = None
) -> tuple[ReplayBuffer, PrioritizedSampler]:
    sampler = sampler if sampler is not None else PrioritizedSampler(8, 1.0, 1.0, eps=0.0)
    buffer = _buffer(sampler)
    buffer.extend(torch.arange(len(priority)))
    buffer.update_priority(torch.arange(len(priority)), torch.tensor(priority, dtype=torch.float64))
    return buffer, sampler


def _leaves(sampler: PrioritizedSampler) -> list[float]:
    leaves: Tensor = sampler.state_dict()["leaves"]
    return leaves.tolist()


def test_probabilities_by_hand() -> None:
    """With alpha 2, priorities 1, 2 and 3 are drawn 1, 4 and 9 times in 14: a batch of 14 has just these numbers."""
    buffer, _ = _filled([1.0, 2.0, 3.0], PrioritizedSampler(8, 2.0, 1.0, eps=0.0))
    assert torch.bincount(buffer.sample(14), minlength=3).tolist() == [1, 4, 9]


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        ("none", [(3 * 1 / 14) ** -0.5, (3 * 4 / 14) ** -0.5, (3 * 9 / 14) ** -0.5]),
        ("buffer", [1.0, 0.5, 1 / 3]),
        ("batch", [1.0, 0.5, 1 / 3]),
    ],
)
def test_weights_by_hand(normalization: Any, expected: list[float]) -> None:
    """Weights are (N P(i))^-beta over the norm, as float32, for priorities 1, 2, 3 with alpha 2 and beta 1/2."""
    sampler = PrioritizedSampler(8, 2.0, 0.5, eps=0.0, normalization=normalization)
    buffer, _ = _filled([1.0, 2.0, 3.0], sampler)
    index, info = buffer.sample(14, return_info=True)
    assert info["_weight"].dtype is torch.float32
    torch.testing.assert_close(info["_weight"], torch.tensor(expected)[index])


def test_normalization_by_buffer_and_by_batch_differ() -> None:
    """Without the row of least priority in the batch, its largest weight is 1 by batch and less by buffer."""
    largest = {}
    for normalization in ("buffer", "batch"):
        sampler = PrioritizedSampler(8, 1.0, 1.0, eps=0.0, normalization=normalization, dtype=torch.float64)
        buffer, _ = _filled([1e-9, 2.0, 4.0], sampler)
        _, info = buffer.sample(6, return_info=True)
        assert 0 not in info["index"]
        largest[normalization] = float(info["_weight"].max())
    assert largest == {"buffer": pytest.approx(1e-9 / 2.0), "batch": 1.0}


def test_the_documented_example() -> None:
    """Priorities 0 and 1000 with eps 1e-8: only the second row is drawn, and its weight is 1e-11."""
    sampler = PrioritizedSampler(max_capacity=10, alpha=1.0, beta=1.0)
    buffer = ReplayBuffer(storage=LazyTensorStorage(10), sampler=sampler, generator=torch.Generator().manual_seed(0))
    buffer.add(torch.tensor(0))
    buffer.add(torch.tensor(1))
    buffer.update_priority(torch.tensor([0, 1]), priority=torch.tensor([0, 1000]))
    batch, info = buffer.sample(10, return_info=True)
    assert batch.tolist() == [1] * 10
    torch.testing.assert_close(info["_weight"], torch.full((10,), 1e-11))


def test_new_rows_have_the_largest_priority_of_live_rows() -> None:
    """Rows enter with the largest priority stored, 1 in an empty buffer; with its row it is forgotten."""
    buffer, sampler = _filled([])
    buffer.extend(torch.arange(3))
    assert _leaves(sampler) == [1.0, 1.0, 1.0]
    buffer.update_priority(torch.arange(3), torch.tensor([5.0, 2.0, 3.0]))
    assert sampler.max_priority == 5.0
    buffer.extend(torch.arange(5))
    assert _leaves(sampler) == [5.0, 2.0, 3.0, 5.0, 5.0, 5.0, 5.0, 5.0]
    buffer.update_priority(torch.arange(3, 8), torch.full((5,), 0.5))
    buffer.add(torch.tensor(0))
    assert _leaves(sampler)[:3] == [3.0, 2.0, 3.0]
    assert sampler.max_priority == 3.0
    buffer.extend(torch.arange(8))
    assert _leaves(sampler) == [1.0] * 8
    buffer.update_priority(4, 0.25)
    buffer[torch.tensor([0, 2])] = torch.arange(2)
    buffer[1] = torch.tensor(0)
    buffer[3:7] = torch.arange(4)
    assert _leaves(sampler) == [1.0] * 8
    buffer.empty()
    assert sampler.max_priority == 1.0


def test_overwriting_scattered_rows_that_hold_the_largest() -> None:
    """Rows replaced in place, the largest among them, get the largest priority of the others."""
    buffer, sampler = _filled([1.0, 7.0, 2.0, 6.0])
    buffer[torch.tensor([1, 3])] = torch.arange(2)
    assert _leaves(sampler) == [1.0, 2.0, 2.0, 2.0]
    buffer, sampler = _filled([1.0, 7.0, 2.0, 6.0])
    buffer[torch.tensor([0, 0, 2])] = torch.arange(3)
    assert _leaves(sampler) == [7.0, 7.0, 7.0, 6.0]


def test_largest_priority_ever() -> None:
    """With `max_priority_within_buffer=False` new rows enter with the largest priority that there ever was."""
    sampler = PrioritizedSampler(8, 1.0, 1.0, eps=0.0, max_priority_within_buffer=False)
    buffer, _ = _filled([1.0, 9.0], sampler)
    buffer.update_priority(1, 2.0)
    buffer.add(torch.tensor(0))
    assert _leaves(sampler) == [1.0, 2.0, 9.0]
    buffer.empty()
    buffer.add(torch.tensor(0))
    assert _leaves(sampler) == [1.0]


def test_max_priority_undoes_alpha_and_eps() -> None:
    """`max_priority` is in the units of what was given; with alpha 0 priorities do not count."""
    _, sampler = _filled([0.5, 3.0], PrioritizedSampler(8, 0.6, 1.0))
    assert sampler.max_priority == pytest.approx(3.0, rel=1e-12)
    _, sampler = _filled([0.5, 3.0], PrioritizedSampler(8, 0.0, 1.0))
    assert sampler.max_priority == 1.0


def test_rows_overwritten_since_keep_their_priority() -> None:
    """An update with stamps changes the rows that are still those drawn; without stamps, all."""
    buffer, sampler = _filled([1.0, 2.0, 3.0, 4.0])
    _, info = buffer.sample(40, return_info=True)
    buffer[1] = torch.tensor(9)
    buffer.update_priority(info["index"], torch.full((40,), 0.5), info["_stamp"])
    assert _leaves(sampler) == [0.5, 4.0, 0.5, 0.5]
    buffer.update_priority(info["index"], torch.full((40,), 0.25))
    assert _leaves(sampler) == [0.25] * 4


def test_rows_gone_are_left_out() -> None:
    """Priorities for rows that were emptied, or never stored, are dropped."""
    buffer, sampler = _filled([1.0, 2.0])
    _, info = buffer.sample(2, return_info=True)
    buffer.update_priority(5, 3.0)
    buffer.empty()
    buffer.update_priority(info["index"], 7.0, info["_stamp"])
    buffer.update_priority(0, 7.0)
    buffer.extend(torch.arange(2))
    buffer.update_priority(info["index"], 7.0, info["_stamp"])
    assert _leaves(sampler) == [1.0, 1.0]


def test_of_two_priorities_for_a_row_the_last_holds() -> None:
    """A row twice in an update has the later priority, and the largest priority is that of rows, not of the update."""
    buffer, sampler = _filled([1.0, 1.0])
    buffer.update_priority(torch.tensor([0, 1, 0]), torch.tensor([9.0, 2.0, 3.0]))
    assert _leaves(sampler) == [3.0, 2.0]
    assert sampler.max_priority == 3.0


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_bad_priorities_change_nothing(bad: float) -> None:
    """Negative, undefined and infinite priorities are refused with their rows, and no priority of the update is set."""
    buffer, sampler = _filled([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=rf"update_priority: priorities.*{bad} at 1 \(row 2\)"):
        buffer.update_priority(torch.tensor([0, 2]), torch.tensor([4.0, bad]))
    assert _leaves(sampler) == [1.0, 2.0, 3.0]


def test_a_priority_whose_power_is_infinite() -> None:
    """A finite priority may be too large for alpha."""
    buffer, sampler = _filled([1.0, 2.0], PrioritizedSampler(8, 2.0, 1.0, eps=0.0))
    with pytest.raises(ValueError, match=r"a priority of 1e\+200 to the power alpha"):
        buffer.update_priority(0, 1e200)
    assert _leaves(sampler) == [1.0, 4.0]


def test_no_row_to_draw() -> None:
    """With `eps=0` and every priority 0, drawing says so; a new row enters with priority 1 and is drawn alone."""
    buffer, _ = _filled([0.0, 0.0])
    with pytest.raises(RuntimeError, match="all have priority 0"):
        buffer.sample(1)
    buffer.add(torch.tensor(7))
    assert buffer.sample(3).tolist() == [7, 7, 7]


def test_sum_beyond_float64() -> None:
    """Finite priorities whose sum is infinite are an error too."""
    buffer, _ = _filled([1.5e308, 1.5e308])
    with pytest.raises(RuntimeError, match="add up to inf"):
        buffer.sample(1)


def test_beta_by_setter_and_by_schedule() -> None:
    """Setting `beta` or giving a schedule changes the weights from batch to batch; beta 0 makes them all 1."""
    buffer, sampler = _filled([1.0, 4.0], PrioritizedSampler(8, 1.0, 0.0, eps=0.0))
    assert buffer.sample(5, return_info=True)[1]["_weight"].tolist() == [1.0] * 5
    sampler.beta = 0.5
    assert buffer.sample(5, return_info=True)[1]["_weight"].tolist() == [1.0, 0.5, 0.5, 0.5, 0.5]
    sampler = PrioritizedSampler(8, 1.0, LinearAnnealing(0.0, 1.0, 2), eps=0.0)
    buffer, _ = _filled([1.0, 4.0], sampler)
    weights = [float(buffer.sample(5, return_info=True)[1]["_weight"][-1]) for _ in range(4)]
    assert weights == [1.0, 0.5, 0.25, 0.25]
    assert sampler.beta == 1.0


@given(st.lists(st.floats(0.0, 10.0), min_size=1, max_size=40), st.integers(1, 60), st.integers(0, 2**31))
@settings(max_examples=80, deadline=None)
def test_batches_are_stratified(priority: list[float], batch_size: int, seed: int) -> None:
    """In a batch of n every row is there n P(i) times, give or take less than two, and in the order of row numbers."""
    if sum(priority) < 1e-6:
        return
    sampler = PrioritizedSampler(64, 1.0, 1.0, eps=0.0)
    buffer = _buffer(sampler, 64, seed)
    buffer.extend(torch.arange(len(priority)))
    buffer.update_priority(torch.arange(len(priority)), torch.tensor(priority, dtype=torch.float64))
    index = buffer.sample(batch_size)
    assert index.tolist() == sorted(index.tolist())
    counts = torch.bincount(index, minlength=len(priority)).double()
    expected = batch_size * torch.tensor(priority, dtype=torch.float64) / sum(priority)
    assert ((counts - expected).abs() < 2.0 - 1e-9).all()
    assert (counts[expected == 0.0] == 0).all()


def test_draws_follow_the_priorities_around_the_seam() -> None:
    """After the ring has wrapped in the middle, 8,000 single draws have a chi-square below its 99.99 % quantile (23
    degrees of freedom: 58.6) against the priorities: those set, and the largest for rows written last.
    """
    sampler = PrioritizedSampler(24, 0.7, 1.0)
    buffer = _buffer(sampler, 24)
    buffer.extend(torch.arange(24))
    priority = torch.rand(24, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    buffer.update_priority(torch.arange(24), priority)
    buffer.extend(torch.arange(15))
    buffer.extend(torch.arange(14))
    buffer.update_priority(torch.arange(20, 24), torch.tensor([3.0, 0.2, 0.3, 0.1]))
    priority[:20], priority[20:] = priority.max(), torch.tensor([3.0, 0.2, 0.3, 0.1], dtype=torch.float64)
    buffer.update_priority(torch.arange(0, 10), torch.arange(10) / 5.0)
    priority[:10] = torch.arange(10) / 5.0
    live = torch.tensor(_leaves(sampler), dtype=torch.float64)
    known = [*range(10), *range(20, 24)]
    torch.testing.assert_close(live[known], ((priority + 1e-8) ** 0.7)[known])
    draws = torch.cat([buffer.sample(1, return_info=True)[1]["index"] for _ in range(8000)])
    expected = 8000 * live / live.sum()
    counts = torch.bincount(draws, minlength=24).double()
    is_rare = expected < 1e-3
    assert (counts[is_rare] == 0).all()
    assert ((counts - expected)[~is_rare] ** 2 / expected[~is_rare]).sum() < 58.6


def test_generator_decides_the_batches() -> None:
    """Equal generators give equal batches and leave the global one alone; without one, the global one is used."""
    state = torch.get_rng_state()
    batches = [_filled([1.0, 2.0, 3.0])[0].sample(9) for _ in range(2)]
    assert torch.equal(*batches)
    assert torch.equal(torch.get_rng_state(), state)
    buffer = ReplayBuffer(storage=LazyTensorStorage(8), sampler=PrioritizedSampler(8, 1.0, 1.0))
    buffer.extend(torch.arange(8))
    torch.manual_seed(3)
    first = buffer.sample(5)
    torch.manual_seed(3)
    assert torch.equal(buffer.sample(5), first)


def test_rows_that_were_in_the_storage_before() -> None:
    """A storage that starts with rows: they enter with priority 1 when they are first drawn from or written beside."""
    sampler = PrioritizedSampler(8, 1.0, 1.0, eps=0.0)
    buffer = ReplayBuffer(storage=TensorStorage(torch.arange(5), max_size=8), sampler=sampler)
    assert set(buffer.sample(5).tolist()) == set(range(5))
    assert _leaves(sampler) == [1.0] * 5


def test_a_sampler_too_small_for_the_storage() -> None:
    """Capacities that do not fit are named with the fix."""
    buffer = _buffer(PrioritizedSampler(4, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"smaller than the storage\. Expected at least 8, found 4\. Give"):
        buffer.add(torch.tensor(0))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_capacity": 0}, "max_capacity. Expected an integer >= 1, found 0"),
        ({"alpha": "0.5"}, "alpha. Expected a finite number >= 0, found '0.5'"),
        ({"beta": None}, "beta. Expected a finite number >= 0, or a schedule of such, found None"),
        ({"dtype": torch.int64}, "dtype. Expected a floating-point dtype, for weights from 0 to 1, found torch.int64"),
        ({"alpha": -0.1}, "alpha. Expected a finite number >= 0, found -0.1"),
        ({"eps": float("inf")}, "eps. Expected a finite number >= 0, found inf"),
        ({"beta": -1.0}, "beta. Expected a finite number >= 0, or a schedule of such, found -1.0"),
        ({"beta": LinearAnnealing(0.1, -1.0, 2)}, "beta. Expected"),
        ({"reduction": "sum"}, "reduction. Expected one of max, min, median, mean, found 'sum'"),
        ({"normalization": "max"}, "normalization. Expected one of buffer, batch, none, found 'max'"),
    ],
)
def test_arguments_that_are_refused(arguments: dict[str, Any], words: str) -> None:
    """Arguments without a meaning are named with what was expected and found."""
    with pytest.raises(ValueError, match=words):
        PrioritizedSampler(**{"max_capacity": 4, "alpha": 1.0, "beta": 1.0, **arguments})


def test_state_restores_the_next_batches() -> None:
    """A state, stamps, schedule and all, gives another buffer the same batches, and later updates the same effect."""
    samplers = [PrioritizedSampler(8, 0.6, LinearAnnealing(0.4, 1.0, 9)) for _ in range(2)]
    buffers = [_buffer(sampler, seed=seed) for seed, sampler in enumerate(samplers)]
    buffers[0].extend(torch.arange(11))
    _, info = buffers[0].sample(4, return_info=True)
    buffers[0].update_priority(info["index"], torch.arange(4) / 3.0, info["_stamp"])
    _, info = buffers[0].sample(4, return_info=True)
    buffers[0].add(torch.tensor(3))
    buffers[1].load_state_dict(buffers[0].state_dict())
    for _ in range(3):
        for buffer in buffers:
            buffer.update_priority(info["index"], torch.arange(4) / 7.0, info["_stamp"])
            buffer.add(torch.tensor(5))
        one, other = [buffer.sample(6, return_info=True) for buffer in buffers]
        assert torch.equal(one[0], other[0])
        assert all(torch.equal(one[1][key], other[1][key]) for key in ("index", "_weight", "_stamp"))
    assert _leaves(samplers[0]) == _leaves(samplers[1])


def test_state_under_other_settings_is_refused() -> None:
    """A state saved under another alpha is refused; a constant beta is part of the state."""
    buffer, sampler = _filled([1.0, 2.0], PrioritizedSampler(8, 0.5, 0.5))
    sampler.beta = 0.75
    state = buffer.state_dict()
    with pytest.raises(ValueError, match=r"sampler settings: expected .*'alpha': 0.6"):
        _buffer(PrioritizedSampler(8, 0.6, 0.5)).load_state_dict(state)
    other = PrioritizedSampler(8, 0.5, 0.5)
    _buffer(other).load_state_dict(state)
    assert other.beta == 0.75


def test_a_sampler_without_priorities() -> None:
    """Updating priorities of a sampler that keeps none is an error that names the remedy."""
    buffer = ReplayBuffer(storage=LazyTensorStorage(8), sampler=RandomSampler())
    buffer.extend(torch.arange(3))
    with pytest.raises(TypeError, match=r"RandomSampler: the sampler keeps no priorities. Give the buffer a Prior"):
        buffer.update_priority(0, 1.0)


def test_repr() -> None:
    """The form names capacity and exponents."""
    assert repr(PrioritizedSampler(4, 0.6, 0.4)) == "PrioritizedSampler(max_capacity=4, alpha=0.6, beta=0.4)"
