"""Draws by the rank of priorities."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_buffers import LazyTensorStorage, LinearAnnealing, RankPrioritizedSampler, ReplayBuffer


def _buffer(sampler: RankPrioritizedSampler, capacity: int = 16, seed: int = 0) -> ReplayBuffer:
    generator = torch.Generator().manual_seed(seed)
    return ReplayBuffer(storage=LazyTensorStorage(capacity), sampler=sampler, generator=generator)


def _filled(priority: list[float], sampler: RankPrioritizedSampler, seed: int = 0) -> ReplayBuffer:
    buffer = _buffer(sampler, seed=seed)
    buffer.extend(torch.arange(len(priority)))
    buffer.update_priority(torch.arange(len(priority)), torch.tensor(priority, dtype=torch.float64))
    return buffer


def test_probabilities_by_hand() -> None:
    """Ranks 1, 2, 4 with alpha 1 have shares 1, 1/2, 1/4 (and 1/3 of rank 3): in 25 draws 12, 6, 4, 3."""
    buffer = _filled([0.0, 1e9, 7.0, 3.0], RankPrioritizedSampler(16, 1.0, 1.0))
    index = buffer.sample(25)
    assert torch.bincount(index, minlength=4).tolist() == [3, 12, 6, 4]
    assert index.tolist() == sorted(index.tolist(), key=[1, 2, 3, 0].index)


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        ("none", [(4 / (25 / 12) / rank) ** -0.5 for rank in (1, 2, 3, 4)]),
        ("buffer", [(1 / 4) ** 0.5, (2 / 4) ** 0.5, (3 / 4) ** 0.5, 1.0]),
        ("batch", [(1 / 4) ** 0.5, (2 / 4) ** 0.5, (3 / 4) ** 0.5, 1.0]),
    ],
)
def test_weights_by_hand(normalization: Any, expected: list[float]) -> None:
    """Weights are (N P(i))^-beta over the norm for four ranks with alpha 1 and beta 1/2."""
    sampler = RankPrioritizedSampler(16, 1.0, 0.5, normalization=normalization)
    buffer = _filled([4.0, 3.0, 2.0, 1.0], sampler)
    index, info = buffer.sample(50, return_info=True)
    torch.testing.assert_close(info["_weight"], torch.tensor(expected)[index])


def test_weights_by_batch() -> None:
    """By batch, the least likely row drawn has weight 1, whichever row that is."""
    buffer = _filled([9.0, 1.0, 2.0], RankPrioritizedSampler(16, 8.0, 1.0, normalization="batch"))
    index, info = buffer.sample(2, return_info=True)
    assert (index.tolist(), info["_weight"].tolist()) == ([0, 0], [1.0, 1.0])


@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0]), min_size=1, max_size=16),
    st.lists(st.lists(st.tuples(st.integers(0, 15), st.floats(0.0, 9.0)), max_size=4), max_size=4),
    st.floats(0.0, 2.0),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_draws_are_those_of_a_sorted_list(
    priority: list[float], updates: list[list[tuple[int, float]]], alpha: float, seed: int
) -> None:
    """With ranks renewed at once, rows drawn are those that the same random numbers find in the list sorted stably."""
    sampler = RankPrioritizedSampler(16, alpha, 1.0, renew_after=1)
    buffer = _filled(priority, sampler, seed)
    order = sorted(range(len(priority)), key=lambda row: -priority[row])
    twin = torch.Generator().manual_seed(seed)
    for update in [[], *updates]:
        pairs = [pair for pair in update if pair[0] < len(priority)]
        index = torch.tensor([row for row, _ in pairs], dtype=torch.int64)
        buffer.update_priority(index, torch.tensor([value for _, value in pairs], dtype=torch.float64))
        for row, value in pairs:
            priority[row] = value
        order.sort(key=lambda row: -priority[row])
        ends = (np.arange(1, len(order) + 1) ** -alpha).cumsum()
        uniform = torch.rand(7, dtype=torch.float64, generator=twin).numpy()
        places = ends.searchsorted((uniform + np.arange(7)) * (ends[-1] / 7), side="right")
        assert buffer.sample(7).tolist() == [order[min(place, len(order) - 1)] for place in places]


def test_ranks_wait_for_changes() -> None:
    """Until `renew_after` rows have changed, ranks are the old ones and new rows are not drawn."""
    buffer = _filled([3.0, 2.0, 1.0], RankPrioritizedSampler(16, 20.0, 1.0, renew_after=3))
    assert set(buffer.sample(20).tolist()) == {0}
    buffer.update_priority(1, 9.0)
    buffer.add(torch.tensor(3))
    assert set(buffer.sample(20).tolist()) == {0}
    buffer.update_priority(torch.tensor([1]), 10.0)
    assert set(buffer.sample(20).tolist()) == {1}


def test_new_rows_have_the_largest_priority() -> None:
    """A row enters with the largest priority stored, also one that replaces another, and emptying forgets all."""
    sampler = RankPrioritizedSampler(16, 0.5, 1.0, renew_after=1)
    buffer = _filled([3.0, 5.0, 1.0], sampler)
    buffer.add(torch.tensor(3))
    assert sampler.max_priority == 5.0
    assert sampler.state_dict()["priorities"]["leaves"].tolist() == [3.0, 5.0, 1.0, 5.0]
    buffer[0] = torch.tensor(9)
    buffer[torch.tensor([2])] = torch.tensor([9])
    buffer[1:3] = torch.tensor([9, 9])
    assert sampler.state_dict()["priorities"]["leaves"].tolist() == [5.0] * 4
    buffer.sample(3)
    buffer.empty()
    buffer.extend(torch.arange(2))
    assert set(buffer.sample(9).tolist()) == {0, 1}
    assert sampler.max_priority == 1.0


WRITES: dict[str, tuple[Callable[[ReplayBuffer], object], list[int], list[int]]] = {
    "add": (lambda buffer: buffer.add(torch.tensor(9)), [1, 3, 2, 0], [48, 24, 16, 12]),
    "extend": (lambda buffer: buffer.extend(torch.arange(2)), [1, 3, 4, 2, 0], [60, 30, 20, 15, 12]),
    "replace": (lambda buffer: buffer.__setitem__(0, torch.tensor(9)), [1, 0, 2], [36, 18, 12]),
}


@pytest.mark.parametrize("write", WRITES)
def test_rows_written_after_a_draw_are_ranked_for_the_next(write: str) -> None:
    """Ranks 1, 2, 3 and so on have shares 1, 1/2, 1/3: a row just written comes after those of the same priority."""
    buffer = _filled([1.0, 3.0, 2.0], RankPrioritizedSampler(16, 1.0, 0.5))
    assert buffer.sample(11, return_info=True)[1]["index"].unique(return_counts=True)[1].argmax() == 1
    change, order, counts = WRITES[write]
    change(buffer)
    index = buffer.sample(sum(counts), return_info=True)[1]["index"]
    found = torch.bincount(index, minlength=len(order))[order]
    assert (found - torch.tensor(counts)).abs().max() <= 1


def test_rows_overwritten_since_keep_their_priority() -> None:
    """An update with stamps leaves rows alone that were written since."""
    sampler = RankPrioritizedSampler(16, 1.0, 1.0)
    buffer = _filled([3.0, 2.0], sampler)
    _, info = buffer.sample(20, return_info=True)
    buffer[0] = torch.tensor(5)
    buffer.update_priority(info["index"], 0.5, info["_stamp"])
    assert sampler.state_dict()["priorities"]["leaves"].tolist() == [2.0, 0.5]


@pytest.mark.parametrize("renew_after", [None, 5])
def test_state(renew_after: int | None) -> None:
    """A buffer that loads a state gives the same batches, ties and ranks not yet renewed included."""
    samplers = [RankPrioritizedSampler(16, 0.7, LinearAnnealing(0.4, 1.0, 5), renew_after=renew_after) for _ in "12"]
    buffer, twin = _filled([1.0, 1.0, 2.0, 2.0, 0.0], samplers[0]), _buffer(samplers[1], seed=4)
    buffer.sample(4)
    buffer.update_priority(torch.tensor([0, 2, 4]), torch.tensor([2.0, 1.0, 1.0]))
    twin.load_state_dict(buffer.state_dict())
    for _ in range(3):
        (one, info), (two, other) = [each.sample(6, return_info=True) for each in (buffer, twin)]
        assert torch.equal(one, two)
        assert all(torch.equal(info[key], other[key]) for key in ("_weight", "_stamp"))
        for each in (buffer, twin):
            each.extend(torch.arange(4))
            each.update_priority(torch.tensor([1, 3]), 3.0)
    with pytest.raises(ValueError, match="renew_after"):
        _buffer(RankPrioritizedSampler(16, 0.7, LinearAnnealing(0.4, 1.0, 5), renew_after=2)).load_state_dict(
            buffer.state_dict()
        )


def test_arguments() -> None:
    """Exponents and intervals without a meaning are refused; `beta` can be set."""
    with pytest.raises(ValueError, match=r"RankPrioritizedSampler: alpha\. Expected a finite number >= 0, found -1"):
        RankPrioritizedSampler(4, -1.0, 1.0)
    with pytest.raises(ValueError, match=r"renew_after\. Expected an integer >= 1, or None, found 0"):
        RankPrioritizedSampler(4, 1.0, 1.0, renew_after=0)
    sampler = RankPrioritizedSampler(4, 0.7, 0.5)
    sampler.beta = 0.75
    assert (sampler.alpha, sampler.beta) == (0.7, 0.75)
    assert repr(sampler) == "RankPrioritizedSampler(max_capacity=4, alpha=0.7, beta=0.75)"
