"""MultiCategorical: categories side by side."""

from typing import Any

import numpy as np
import pytest
import torch

from rl_specs import CategoricalBox, MultiCategorical, MultiOneHot, SpecError


def test_defaults() -> None:
    """One int64 for each variable; `space.nvec` lists the categories."""
    spec = MultiCategorical([2, 3])
    assert spec.shape == (2,)
    assert spec.nvec == spec.space.nvec == (2, 3)
    assert spec.space.boxes == (CategoricalBox(2), CategoricalBox(3))
    assert spec.cardinality() == 6
    assert MultiCategorical(torch.tensor([2, 3])) == spec


def test_each_variable_has_its_own_range() -> None:
    """Membership and projection are by variable."""
    spec = MultiCategorical([2, 3])
    assert spec.is_in(torch.tensor([[1, 2], [0, 0]]))
    assert not spec.is_in(torch.tensor([2, 2]))
    assert spec.project(torch.tensor([5.0, -1.0])).tolist() == [1, 0]


def test_rand_draws_every_combination() -> None:
    """All six combinations appear."""
    torch.manual_seed(0)
    rows = MultiCategorical([2, 3], dtype=torch.int32).rand((300,)).tolist()
    assert len({tuple(row) for row in rows}) == 6


def test_encode_and_to_numpy_are_inverse() -> None:
    """Numpy integers go in and come out."""
    spec = MultiCategorical([2, 3], (4, 2))
    array = np.array([[0, 2], [1, 1], [0, 0], [1, 2]])
    np.testing.assert_array_equal(spec.to_numpy(spec.encode(array)), array)


def test_one_hot_round_trip() -> None:
    """`to_one_hot` gives values of `to_one_hot_spec`, and back."""
    spec = MultiCategorical([2, 3], (4, 2))
    value = spec.rand()
    assert spec.to_one_hot_spec() == MultiOneHot([2, 3], (4, 5))
    assert spec.to_one_hot_spec().is_in(spec.to_one_hot(value))
    assert torch.equal(spec.to_one_hot_spec().to_categorical(spec.to_one_hot(value)), value)


def test_empty_nvec_is_an_error() -> None:
    """At least one variable, each with at least one category."""
    with pytest.raises(SpecError, match="nvec is empty"):
        MultiCategorical([])
    with pytest.raises(SpecError, match="found -1"):
        MultiCategorical([2, -1])


def test_encode_refuses_what_is_no_category_number() -> None:
    """A number between two categories is an error, and is not cut off."""
    with pytest.raises(SpecError, match="categories are whole numbers"):
        MultiCategorical([3, 4]).encode([1.5, 2.0])


@pytest.mark.parametrize("nvec", [[[2, 3], [4, 5]], torch.tensor([[2, 3], [4, 5]])])
def test_numbers_of_several_rows(nvec: Any) -> None:
    """They are refused, and stacking a spec of each row, as the message says, gives the spec of the matrix."""
    with pytest.raises(SpecError, match=r"nvec of several rows.*torch.stack\("):
        MultiCategorical(nvec)
    whole: Any = torch.stack([MultiCategorical(row) for row in nvec])  # type: ignore[misc]  # specs stack too
    assert whole.shape == (2, 2)
    assert whole.is_in(torch.tensor([[1, 2], [3, 4]]))
    assert not whole.is_in(torch.tensor([[1, 2], [1, 5]]))
