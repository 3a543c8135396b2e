"""MultiOneHot: one-hot blocks in a row."""

import numpy as np
import pytest
import torch

from rl_specs import MultiOneHot, ShapeError, SpecError


def test_defaults() -> None:
    """A bool vector as long as the blocks together."""
    spec = MultiOneHot([2, 3])
    assert spec.shape == (5,)
    assert spec.dtype == torch.bool
    assert spec.nvec == (2, 3)
    assert spec.cardinality() == 6


def test_every_block_has_a_single_one() -> None:
    """Two ones in one block and none in the other is not in."""
    spec = MultiOneHot([2, 3], dtype=torch.int64)
    assert spec.is_in(torch.tensor([0, 1, 1, 0, 0]))
    assert not spec.is_in(torch.tensor([1, 1, 0, 0, 0]))
    assert spec.is_in(spec.rand((20,)))


def test_project_works_by_block() -> None:
    """The greatest element of each block becomes its 1."""
    value = torch.tensor([9.0, 1.0, 0.0, 5.0, 3.0])
    assert MultiOneHot([2, 3], dtype=torch.int64).project(value).tolist() == [1, 0, 0, 1, 0]


def test_encode_takes_numbers_and_vectors() -> None:
    """Category numbers become blocks; vectors pass; `to_numpy` is the inverse."""
    spec = MultiOneHot([2, 3])
    encoded = spec.encode([1, 2])
    assert encoded.tolist() == [False, True, False, False, True]
    assert torch.equal(spec.encode(encoded), encoded)
    np.testing.assert_array_equal(spec.to_numpy(encoded), [1, 2])


def test_encode_refuses_other_values() -> None:
    """Numbers out of range and other lengths are errors."""
    with pytest.raises(SpecError, match="category out of range"):
        MultiOneHot([2, 3]).encode([2, 0])
    with pytest.raises(ShapeError):
        MultiOneHot([2, 3]).encode([0, 0, 0])


def test_shape_operations_keep_blocks_whole() -> None:
    """Batch dimensions can be worked on, blocks cannot be cut."""
    spec = MultiOneHot([2, 3], (4, 5))
    assert spec.unflatten(0, (2, -1)) == MultiOneHot([2, 3], (2, 2, 5))
    assert spec.to(torch.int64).dtype == torch.int64
    with pytest.raises(ShapeError):
        spec[:, :2]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_encode_takes_vectors_of_any_dtype(dtype: torch.dtype) -> None:
    """A row of zeros and ones as long as the blocks is taken as one-hot blocks, in the dtype of the spec."""
    spec = MultiOneHot([2, 3], dtype=dtype)
    for given in ([0, 1, 0, 0, 1], np.array([0.0, 1.0, 0.0, 0.0, 1.0]), torch.tensor([0, 1, 0, 0, 1]).bool()):
        assert spec.is_in(spec.encode(given))
        assert torch.equal(spec.encode(given), spec.encode([1, 2]))


def test_encode_refuses_vectors_that_are_not_one_hot() -> None:
    """Integers as long as the blocks that are no vectors, and numbers between two categories, are errors."""
    with pytest.raises(SpecError, match="vectors are not one-hot"):
        MultiOneHot([2, 3]).encode([7, 1, 0, 0, 1])
    with pytest.raises(SpecError, match="categories are whole numbers"):
        MultiOneHot([2, 3]).encode([1.5, 2.0])
