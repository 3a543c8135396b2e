"""Where episodes of a ring begin and end."""

import numpy as np

from rl_buffers._episode_index import EpisodeIndex


def test_bounds_of_two_lanes() -> None:
    """In a ring of 4 steps after 6, of which lane 0 ended one after 3 and 5, lane 1 after 1, episodes are hand-made."""
    index = EpisodeIndex(4, 2)
    index.extend(3, np.array([0, 1]), np.array([3, 1]))
    index.extend(3, np.array([0]), np.array([2]))
    lane, number, first, stop = index.bounds(np.arange(8))
    assert lane.tolist() == [0, 1] * 4
    assert number.tolist() == [4, 4, 5, 5, 2, 2, 3, 3]
    assert first.tolist() == [3, 2, 5, 2, 2, 2, 3, 2]
    assert stop.tolist() == [5, 6, 6, 6, 3, 6, 5, 6]
    assert index.rows(lane, number).tolist() == list(range(8))


def test_ends_that_were_overwritten_are_forgotten() -> None:
    """After 10,000 steps of an episode each, an index of 8 steps holds ends of few steps only."""
    index = EpisodeIndex(8, 3)
    for _ in range(1000):
        index.extend(10, np.arange(3).repeat(10), np.tile(np.arange(1, 11), 3))
    assert index._ends.shape[1] < 64
    _, number, first, stop = index.bounds(np.arange(24))
    assert np.array_equal(first, number)
    assert np.array_equal(stop, number + 1)
