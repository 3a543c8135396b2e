"""OneHot: one 1 along the last dimension."""

import numpy as np
import pytest
import torch

from rl_specs import OneHot, ShapeError, SpecError


def test_defaults() -> None:
    """A bool vector of length n by default."""
    spec = OneHot(4)
    assert spec.shape == (4,)
    assert spec.dtype == torch.bool
    assert spec.space.n == spec.n == spec.cardinality() == 4


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_is_in_wants_a_single_one(dtype: torch.dtype) -> None:
    """No one, two ones or other numbers are not in."""
    spec = OneHot(3, dtype=dtype)
    assert spec.is_in(torch.eye(3, dtype=dtype))
    assert not spec.is_in(torch.zeros(3, dtype=dtype))
    assert not spec.is_in(torch.ones(3, dtype=dtype))
    assert dtype == torch.bool or not spec.is_in(torch.tensor([2, -1, 0], dtype=dtype))


def test_rand_is_uniform() -> None:
    """Every category is drawn about equally often."""
    torch.manual_seed(0)
    counts = OneHot(3, (2, 3)).rand((4_000,)).sum((0, 1))
    assert counts.sum() == 8_000
    assert counts.min() > 2_450


def test_project_takes_the_first_greatest() -> None:
    """The greatest element becomes the 1, the first of equals."""
    spec = OneHot(3, dtype=torch.float32)
    value = torch.tensor([[0.1, 5.0, -1.0], [2.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    assert spec.project(value).argmax(-1).tolist() == [1, 0, 0]
    assert OneHot(2).project(torch.tensor([False, True])).tolist() == [False, True]


def test_encode_takes_numbers_and_vectors() -> None:
    """Category numbers become vectors; vectors pass; `to_numpy` is the inverse."""
    spec = OneHot(4)
    assert spec.encode(2).tolist() == [False, False, True, False]
    assert torch.equal(spec.encode(spec.encode(np.int64(1))), spec.encode(1))
    assert OneHot(2, dtype=torch.int64).encode([1, 1]).tolist() == [[0, 1], [0, 1]]
    np.testing.assert_array_equal(spec.to_numpy(spec.encode(np.array([0, 3]))), [0, 3])


def test_encode_refuses_other_categories() -> None:
    """A number out of range is an error, not a vector of zeros."""
    with pytest.raises(SpecError, match="0 <= index < 4, found 4"):
        OneHot(4).encode(4)
    with pytest.raises(ShapeError):
        OneHot(4, (3, 4)).encode([0, 1])


def test_shape_must_end_in_n() -> None:
    """The error says what to give."""
    with pytest.raises(ShapeError, match=r"Expected 4, found \(3,\). Give the full shape, \(\*batch, 4\)"):
        OneHot(4, (3,))


def test_operations_that_cut_vectors_are_errors() -> None:
    """Batch dimensions can be worked on; the last one cannot, even where the sizes would fit."""
    spec = OneHot(4, (4, 4))
    assert spec[0] == OneHot(4)
    assert spec[..., None, :].shape == (4, 1, 4)
    for op in (lambda: spec[:, 0], lambda: spec[..., :2], lambda: spec.flatten(), lambda: spec.reshape(2, 8)):
        with pytest.raises(ShapeError, match="last dimension"):
            op()


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32, torch.float16])
def test_one_vector_is_drawn_as_several_are(dtype: torch.dtype) -> None:
    """The same generator state gives the same category, whatever way the vector is made."""
    spec = OneHot(5, dtype=dtype)
    for seed in range(20):
        one = spec.rand(generator=torch.Generator().manual_seed(seed))
        several = spec.rand((1,), generator=torch.Generator().manual_seed(seed))
        assert one.dtype == dtype
        assert torch.equal(one, several[0])


def test_encode_refuses_what_is_no_category_number() -> None:
    """A number between two categories is an error; a whole one may be a float."""
    with pytest.raises(SpecError, match=r"categories are whole numbers\. Found 1\.5\. Pass integers"):
        OneHot(3).encode(1.5)
    assert OneHot(3).encode(2.0).tolist() == [False, False, True]
