"""Flattening of features."""

import torch

from rl_modules import SquashDims


def test_last_three_dimensions_become_one() -> None:
    """Channels, height and width become one dimension, in memory order, behind the batch dimensions."""
    value = torch.arange(48).reshape(2, 2, 3, 2, 2)
    assert torch.equal(SquashDims()(value), torch.arange(48).reshape(2, 2, 12))


def test_number_of_dimensions_can_be_chosen() -> None:
    """`ndims_in` dimensions become one."""
    assert SquashDims(2)(torch.zeros(2, 3, 4)).shape == (2, 12)
