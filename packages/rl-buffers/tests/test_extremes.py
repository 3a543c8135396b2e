"""Smallest and largest of numbers that change a few at a time."""

from math import inf

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_buffers._extremes import Extremes


def test_losing_the_extremes_finds_the_next_ones() -> None:
    """When the largest and the smallest entry change, the second ones take their places; when all are 0, none do."""
    table = np.array([[1.0, 7.0], [3.0, 0.0]])
    extremes = Extremes(torch.from_numpy(table))
    extremes.reload()
    flat = table.reshape(-1)
    assert (extremes.largest(), extremes.largest_place(), extremes.smallest()) == (7.0, 1, 1.0)
    flat[[1, 0]] = 2.0
    extremes.wrote(np.array([1, 0]), np.array([2.0, 2.0]), flat)
    assert (extremes.largest(), extremes.largest_place(), extremes.smallest()) == (3.0, 2, 2.0)
    flat[:] = 0.0
    extremes.filled(0, 4, 0.0)
    assert (extremes.largest(), extremes.largest_place(), extremes.smallest()) == (0.0, -1, inf)


def test_losing_one_extreme() -> None:
    """The smallest is found anew when only it is lost, to a larger value or to 0, and so is the largest."""
    table = np.array([[1.0, 7.0], [3.0, 2.0]])
    extremes = Extremes(torch.from_numpy(table))
    extremes.reload()
    flat = table.reshape(-1)
    steps = ((0, 4.0, (7.0, 2.0)), (3, 0.0, (7.0, 3.0)), (1, 3.5, (4.0, 3.0)), (2, 3.6, (4.0, 3.5)))
    for place, value, expected in steps:
        flat[place] = value
        extremes.wrote(np.array([place]), np.array([value]), flat)
        assert (extremes.largest(), extremes.smallest()) == expected
    flat[0] = 0.0
    extremes.filled(0, 1, 0.0)
    assert (extremes.largest(), extremes.smallest()) == (3.6, 3.5)


@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(0, 15), st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0])), min_size=1, max_size=6),
            st.booleans(),
            st.booleans(),
        ),
        max_size=15,
    )
)
@settings(max_examples=200, deadline=None)
def test_any_writes(writes: list[tuple[list[tuple[int, float]], bool, bool]]) -> None:
    """After any writes, whether or not the extremes were asked for in between, they are those of the table."""
    table = np.zeros((4, 4))
    flat = table.reshape(-1)
    extremes = Extremes(torch.from_numpy(table))
    for pairs, is_range, is_asked in writes:
        if is_range:
            start, stop = min(pairs)[0], max(pairs)[0] + 1
            flat[start:stop] = pairs[0][1]
            extremes.filled(start, stop, pairs[0][1])
        else:
            places, values = np.array([place for place, _ in pairs]), np.array([value for _, value in pairs])
            flat[places] = values
            extremes.wrote(places, values, flat)
        if is_asked:
            assert extremes.largest() == flat.max()
            assert extremes.smallest() == min(flat[flat > 0.0], default=inf)
            place = extremes.largest_place()
            assert (place == -1 and flat.max() == 0.0) or flat[place] == flat.max() > 0.0
