"""What users give as priorities."""

from math import inf, nan
from typing import Any

import numpy as np
import pytest
import torch

from rl_buffers._priority_values import Reduction, priority_array, row_array
from rl_specs import ShapeError


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (3, [3]),
        ([0, 3], [0, 3]),
        (torch.tensor(2), [2]),
        (torch.tensor([1, 1, 0], dtype=torch.int32), [1, 1, 0]),
        (torch.tensor([[1, 1], [2, 2]]), [1, 2]),
        (torch.empty(0), []),
    ],
)
def test_rows(index: Any, expected: list[int]) -> None:
    """Integers, sequences and tensors give row numbers; of dimensions after the first, the first entry."""
    rows = row_array(index, 4, "Test")
    assert (rows.tolist(), rows.dtype) == (expected, np.dtype(np.int64))


@pytest.mark.parametrize("index", [-1, 4, [0, 9], torch.tensor([1, -2])])
def test_rows_that_there_cannot_be(index: Any) -> None:
    """Negative numbers and those beyond the capacity are refused and listed."""
    with pytest.raises(IndexError, match=r"Test: row numbers. Expected 0 to 3, found \[-?\d\]"):
        row_array(index, 4, "Test")


def test_rows_that_are_no_integers() -> None:
    """Fractions are no row numbers."""
    with pytest.raises(IndexError, match=r"Expected integers \[n\], found float32 \[2\]"):
        row_array(torch.tensor([0.5, 1.0]), 4, "Test")


@pytest.mark.parametrize(
    ("reduction", "expected"), [("max", [4.0, 9.0]), ("min", [1.0, 3.0]), ("median", [2.0, 6.0]), ("mean", [2.25, 6.0])]
)
def test_reductions(reduction: Reduction, expected: list[float]) -> None:
    """Several priorities of a row are reduced to their maximum, minimum, median or mean."""
    priority = torch.tensor([[[1.0, 2.0], [4.0, 2.0]], [[3.0, 9.0], [6.0, 6.0]]])
    assert priority_array(priority, 2, reduction, "Test").tolist() == expected


def test_forms() -> None:
    """A number holds for all rows; half precision, gradients and a last dimension of one are taken as they come."""
    assert priority_array(2, 3, "max", "Test").tolist() == [2.0, 2.0, 2.0]
    assert priority_array(torch.tensor([1.5, 2.0], dtype=torch.bfloat16), 2, "max", "Test").tolist() == [1.5, 2.0]
    assert priority_array(torch.tensor([[1.0], [2.0]], requires_grad=True), 2, "mean", "Test").tolist() == [1.0, 2.0]
    assert priority_array([], 0, "max", "Test").shape == (0,)
    assert priority_array([-0.0, 1.0], 2, "max", "Test").tolist() == [0.0, 1.0]


def test_another_number_of_priorities() -> None:
    """One priority for each row, or one for all."""
    with pytest.raises(ShapeError, match=r"one for each of 2 rows, found 3 priorities of shape \[3, 1\]"):
        priority_array(torch.ones(3, 1), 2, "max", "Test")


@pytest.mark.parametrize("bad", [-1.0, nan, inf, -inf])
def test_priorities_that_are_none(bad: float) -> None:
    """Negative, infinite and undefined priorities are refused with place, row and value."""
    with pytest.raises(ValueError, match=rf"numbers >= 0, found {bad} at 1 \(row 8\), {bad} at 3 \(row 6\)\. Not"):
        priority_array([1.0, bad, 0.0, bad], 4, "max", "Test", np.array([9, 8, 7, 6]))


def test_many_bad_priorities() -> None:
    """Ten are listed, the others counted."""
    with pytest.raises(ValueError, match="nan at 9 and 5 more"):
        priority_array(torch.full((15,), nan), 15, "max", "Test")
