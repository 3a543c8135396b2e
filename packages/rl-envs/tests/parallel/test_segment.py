"""Tests of `rl_envs.parallel._segment`."""

import os

import pytest

from rl_envs.parallel._segment import available_bytes, create_segment, map_segment, reserve


def test_two_maps_share_their_bytes() -> None:
    """What is written through one map of a segment is read through another."""
    fd = create_segment()
    reserve(fd, 4096, "Test")
    first, second = map_segment(fd), map_segment(fd)
    os.close(fd)
    first[17] = 5
    assert second[17] == 5
    assert len(second) == 4096


def test_more_than_there_is() -> None:
    """More memory than the machine has is refused, with both figures, and not taken."""
    fd = create_segment()
    assert 0 < available_bytes(fd) < 1 << 50
    with pytest.raises(
        MemoryError, match=r"Test: no room for shared memory. Expected at most .* MiB, found 1,073,741,8"
    ):
        reserve(fd, 1 << 50, "Test")
    assert os.fstat(fd).st_size == 0
    os.close(fd)
