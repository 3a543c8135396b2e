"""Numbers given as arguments."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from rl_buffers import LazyTensorStorage, ReplayBuffer, SliceSampler
from rl_buffers._arguments import is_exponent, whole_number


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), torch.tensor(3)])
def test_integers_of_other_libraries_are_integers(value: object) -> None:
    """Sizes may be integers of NumPy and of torch, as arithmetic with shapes makes them; a plain one comes out."""
    number = whole_number("Thing", "size", value, least=1)
    assert (number, type(number)) == (3, int)


@pytest.mark.parametrize("value", [0, -1, True, 3.0, np.float64(3), "3", None, torch.tensor(3.0), torch.ones(2)])
def test_other_values_are_refused_by_name(value: object) -> None:
    """What is no integer, or too small, raises with the component, the name and the value."""
    with pytest.raises(ValueError, match=r"Thing: size\. Expected an integer >= 1, found "):
        whole_number("Thing", "size", value, least=1)


@pytest.mark.parametrize("value", [0, 0.5, 2, np.float32(0.5), True])
def test_exponents(value: object) -> None:
    """Finite numbers that are not negative are exponents."""
    assert is_exponent(value)


@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan, "0.5", None, 1j, torch.ones(2)])
def test_what_is_no_exponent(value: object) -> None:
    """Negative and infinite numbers and other objects are none, and nothing is raised."""
    assert not is_exponent(value)


def test_sizes_of_buffers_may_be_numpy_integers() -> None:
    """A buffer takes such sizes wherever it takes one, for itself, a batch, a storage and a sampler."""
    size: Any = np.int64(4)
    buffer = ReplayBuffer(
        storage=LazyTensorStorage(size),
        sampler=SliceSampler(slice_len=size // 2, ends=torch.tensor([False, False, False, True])),
        batch_size=size,
    )
    buffer.extend(torch.arange(4))
    assert buffer.sample().shape == buffer.sample(size).shape == (4,)
