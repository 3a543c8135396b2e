"""Categorical: integers from 0 to n - 1."""

import numpy as np
import pytest
import torch

from rl_specs import Categorical, DTypeError, OneHot, SpecError, stack_specs


def test_defaults() -> None:
    """A scalar int64 by default; `space.n` and `n` give the number of categories."""
    spec = Categorical(4)
    assert spec.shape == ()
    assert spec.dtype == torch.int64
    assert spec.space.n == spec.n == spec.cardinality() == 4
    assert spec.domain == "discrete"


def test_rand_is_uniform() -> None:
    """Every category is drawn about equally often."""
    torch.manual_seed(0)
    counts = torch.bincount(Categorical(4).rand((8_000,)), minlength=4)
    assert counts.min() > 1_850
    assert counts.numel() == 4


def test_is_in_wants_integers_in_range() -> None:
    """Numbers outside, floats and bare Python numbers are not in."""
    spec = Categorical(3)
    assert spec.is_in(torch.tensor([0, 2]))
    assert not spec.is_in(torch.tensor(3))
    assert not spec.is_in(torch.tensor(-1))
    assert not spec.is_in(torch.tensor(1.0))
    assert not spec.is_in(1)


def test_project_rounds_and_clamps() -> None:
    """The nearest category, in the dtype of the spec."""
    assert Categorical(3, dtype=torch.int32).project(torch.tensor([-2.0, 1.6, 9.0])).tolist() == [0, 2, 2]


def test_bool_flags() -> None:
    """Two categories can be held as bool, as done flags are."""
    spec = Categorical(2, (1,), dtype=torch.bool)
    assert spec.is_in(torch.tensor([[True], [False]]))
    assert set(spec.rand((50,)).flatten().tolist()) == {False, True}
    assert spec.project(torch.tensor([7])).tolist() == [True]


def test_encode_and_to_numpy_are_inverse() -> None:
    """Numpy integers go in and come out."""
    spec = Categorical(4, (2,))
    np.testing.assert_array_equal(spec.to_numpy(spec.encode(np.array([3, 0], dtype=np.int32))), [3, 0])


def test_one_hot_of_a_value_is_in_the_one_hot_spec() -> None:
    """`to_one_hot` gives values of `to_one_hot_spec`."""
    spec = Categorical(3, (2,))
    value = spec.rand((5,))
    assert spec.to_one_hot_spec() == OneHot(3, (2, 3))
    assert spec.to_one_hot_spec().is_in(spec.to_one_hot(value))
    assert torch.equal(spec.to_one_hot_spec().to_categorical(spec.to_one_hot(value)), value)


def test_wrong_arguments_are_errors() -> None:
    """No categories, a float dtype, or one too small say so."""
    with pytest.raises(SpecError, match="at least 1, found 0"):
        Categorical(0)
    with pytest.raises(DTypeError, match="categories are integers"):
        Categorical(3, dtype=torch.float32)
    with pytest.raises(DTypeError, match="bool cannot hold 3"):
        Categorical(3, dtype=torch.bool)


def test_stack_wants_equal_specs() -> None:
    """Specs with other numbers of categories do not make one spec of the kind."""
    assert stack_specs([Categorical(3), Categorical(3)]) == Categorical(3, (2,))
    with pytest.raises(SpecError, match=r"spec 1 differs from spec 0.*n=3.*n=4"):
        stack_specs([Categorical(3), Categorical(4)], strict=True)


def test_dtype_and_device_are_part_of_the_spec() -> None:
    """Specs that differ in dtype or device alone are not equal."""
    assert Categorical(3) == Categorical(3, ())
    assert Categorical(3) != Categorical(3, dtype=torch.int32)
    assert Categorical(3) != Categorical(3, device="meta")


def test_encode_refuses_what_is_no_category_number() -> None:
    """A number between two categories is an error, and is not cut off; a whole one may be a float."""
    with pytest.raises(SpecError, match="categories are whole numbers"):
        Categorical(3).encode([0.0, 1.5])
    assert Categorical(3, dtype=torch.int32).encode(np.array(2.0)).item() == 2
