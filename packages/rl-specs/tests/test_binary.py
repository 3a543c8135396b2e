"""Binary: zeros and ones."""

import pytest
import torch

from rl_specs import Binary, ShapeError, SpecError


def test_size_comes_from_n_or_shape() -> None:
    """`n` is the last dimension; one of `n` and `shape` is enough."""
    assert Binary(3).shape == (3,)
    assert Binary(shape=(2, 3)).n == Binary(3, (2, 3)).space.n == 3
    assert Binary(3).dtype == torch.int8
    assert Binary(3).cardinality() == 8
    assert Binary(shape=()).n == 1


def test_wrong_sizes_are_errors() -> None:
    """Neither size, or sizes that differ, say so."""
    with pytest.raises(SpecError, match=r"Give one, Binary\(3\)"):
        Binary()
    with pytest.raises(ShapeError, match=r"Expected 3, found \(2,\)"):
        Binary(3, (2,))


def test_only_zeros_and_ones_are_in() -> None:
    """2 and one half are not in."""
    assert Binary(2).is_in(torch.tensor([0, 1], dtype=torch.int8))
    assert not Binary(2).is_in(torch.tensor([0, 2], dtype=torch.int8))
    assert not Binary(1, dtype=torch.float32).is_in(torch.tensor([0.5]))


def test_rand_draws_both() -> None:
    """About half of the samples are 1."""
    torch.manual_seed(0)
    assert 900 < Binary(2, dtype=torch.bool).rand((1_000,)).sum() < 1_100


def test_project_rounds_half_up() -> None:
    """One half and above become 1."""
    assert Binary(4).project(torch.tensor([-3.0, 0.49, 0.5, 7.0])).tolist() == [0, 0, 1, 1]
    assert Binary(1).project(torch.tensor([True])).dtype == torch.int8


def test_elements_are_independent_so_any_index_works() -> None:
    """The last dimension can be indexed, encoded and squeezed."""
    spec = Binary(3, (2, 3))
    assert spec[..., 0] == Binary(shape=(2,))
    assert Binary(1).squeeze() == Binary(shape=())
    assert spec.encode([[0, 1, 0], [1, 1, 1]]).shape == (2, 3)
    assert spec.to(torch.bool).dtype == torch.bool
