"""Where the levels of a tree lie."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import rl_cuda
from rl_specs import ShapeError


@pytest.mark.parametrize(
    ("capacity", "numel"), [(1, 33), (32, 33), (33, 64 + 32 + 1), (1024, 1024 + 32 + 1), (1025, 1056 + 64 + 32 + 1)]
)
def test_hand_computed_sizes(capacity: int, numel: int) -> None:
    """The size is that of the levels, each padded to a multiple of 32, and the root."""
    assert rl_cuda.tree_numel(capacity) == numel


@given(st.integers(1, 10**7))
def test_size_tells_the_number_of_leaves(capacity: int) -> None:
    """From the number of elements alone the number of leaves is found again, rounded up to a multiple of 32."""
    assert rl_cuda.tree_leaves(rl_cuda.tree_numel(capacity)) == -(-capacity // 32) * 32


@given(st.integers(0, 10**6))
def test_other_sizes_are_refused(numel: int) -> None:
    """A number of elements is either that of a tree or an error."""
    try:
        leaves = rl_cuda.tree_leaves(numel)
    except ShapeError:
        assert all(rl_cuda.tree_numel(32 * k) != numel for k in range(max(1, numel // 32 - 40), numel // 32 + 2))
    else:
        assert rl_cuda.tree_numel(leaves) == numel


def test_new_tree_is_zero(device: torch.device) -> None:
    """A new tree has the dtype and device asked for and all sums zero."""
    tree = rl_cuda.new_sum_tree(50, dtype=torch.float32, device=device)
    assert tree.dtype == torch.float32
    assert tree.device.type == device.type
    assert not tree.any()


def test_no_leaves_is_refused() -> None:
    """A tree without leaves is an error that says what is possible."""
    with pytest.raises(ValueError, match=r">= 1, found 0"):
        rl_cuda.new_sum_tree(0)
