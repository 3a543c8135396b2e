"""How work is spread over blocks: the arithmetic of launches that are too large to try."""

import ctypes
import shutil

import pytest

if any(map(shutil.which, ("c++", "g++", "clang++"))):

    @pytest.mark.parametrize(
        ("threads", "blocks"),
        [
            (1, 1),
            (256, 1),
            (257, 2),
            (32 * 2**31, 2**28),  # a warp for each entry of the largest batch
            (3 * 32 * 2**31, 3 * 2**28),  # of three trees
            (256 * (2**31 - 1), 2**31 - 1),  # a full grid
            (256 * (2**31 - 1) + 1, 2**31 - 1),  # its threads take several items
            (32 * 2**40, 2**31 - 1),
        ],
    )
    def test_no_launch_has_more_blocks_than_a_grid(emulated: ctypes.CDLL, threads: int, blocks: int) -> None:
        """There is a block for each 256 threads; what a grid has no room for is left to the same threads."""
        count = emulated.rl_cuda_emulation_blocks
        count.argtypes, count.restype = (ctypes.c_int64,), ctypes.c_int64
        assert count(threads) == blocks
