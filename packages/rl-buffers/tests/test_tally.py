"""Integer weights of slots."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_buffers._tally import Tally


@given(st.integers(1, 700), st.lists(st.tuples(st.integers(0, 699), st.integers(0, 5)), max_size=40))
@settings(max_examples=60, deadline=None)
def test_each_unit_of_weight_is_found(capacity: int, changes: list[tuple[int, int]]) -> None:
    """After any changes, the targets from 0 to the total find each slot as often as its weight, in order."""
    tally, weights = Tally(capacity), [0] * capacity
    for slot, weight in changes:
        slot %= capacity
        weights[slot] = weight
        tally.set(np.array([slot]), np.array([weight]))
    expected = [(slot, unit) for slot, weight in enumerate(weights) for unit in range(weight)]
    assert tally.total == len(expected)
    slots, rest = tally.find(np.arange(tally.total))
    assert list(zip(slots.tolist(), rest.tolist(), strict=True)) == expected


def test_many_at_once() -> None:
    """Slots of different blocks are changed together, and large weights are exact."""
    tally = Tally(1000)
    slots = np.array([3, 300, 999])
    tally.set(slots, np.array([2**40, 1, 2**50]))
    assert tally.total == 2**40 + 1 + 2**50
    found, rest = tally.find(np.array([2**40 - 1, 2**40, 2**40 + 1, 2**40 + 2**50]))
    assert found.tolist() == [3, 300, 999, 999]
    assert rest.tolist() == [2**40 - 1, 0, 0, 2**50 - 1]
