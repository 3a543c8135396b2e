"""Row numbers from brackets."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_buffers._index import row_numbers

ROWS = list(range(7))


@given(st.slices(7))
@settings(max_examples=80, deadline=None)
def test_slices_select_what_they_select_in_a_list(index: slice) -> None:
    """Any slice, whatever its step, selects the rows it selects in a list."""
    where = row_numbers(index, 7, "test")
    found = list(range(where.start, where.stop)) if isinstance(where, slice) else torch.as_tensor(where).tolist()
    assert found == ROWS[index]


def test_numbers_and_masks() -> None:
    """Negative numbers count from the end; masks select where they are true."""
    assert row_numbers(-1, 7, "test") == 6
    assert torch.equal(torch.as_tensor(row_numbers([0, -7, 6], 7, "test")), torch.tensor([0, 0, 6]))
    mask = torch.tensor([True, False, False, True, False, False, False])
    assert torch.equal(torch.as_tensor(row_numbers(mask, 7, "test")), torch.tensor([0, 3]))


@pytest.mark.parametrize("index", [torch.tensor(-2), np.int64(5), np.array(5), torch.tensor(5, dtype=torch.uint8)])
def test_numbers_of_other_libraries_are_integers(index: object) -> None:
    """A tensor or array without dimensions, and a number of NumPy, selects one row as an integer does."""
    assert row_numbers(index, 7, "test") == 5  # type: ignore[arg-type]  # what users have at hand


def test_nothing_and_everything() -> None:
    """`[]` selects no row, whatever its elements would be, and `...` all of them."""
    nothings: list[Any] = [[], (), np.array([]), torch.empty(0)]
    for nothing in nothings:
        numbers = row_numbers(nothing, 7, "test")
        assert isinstance(numbers, torch.Tensor)
        assert (numbers.dtype, numbers.shape) == (torch.int64, (0,))
    assert row_numbers(..., 7, "test") == slice(0, 7)


@pytest.mark.parametrize("index", ["observation", None, ("next", "reward"), [[0], [1, 2]]])
def test_what_is_no_number_is_told_so(index: object) -> None:
    """Names of entries and other objects are refused with the kinds that there are, not by what reads them."""
    with pytest.raises(IndexError, match=r"test: no row .*Expected an integer, a range, .*buffer\[:\]\[key\]"):
        row_numbers(index, 7, "test")  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("index", [7, -8, [0, 7], [-8], [True, False], torch.zeros(2, 2).long(), [0.5]])
def test_rows_that_are_not_there_are_errors(index: object) -> None:
    """Numbers out of range, masks of another length and other tensors raise `IndexError` with the component."""
    with pytest.raises(IndexError, match="test: "):
        row_numbers(index, 7, "test")  # type: ignore[arg-type]  # wrong on purpose
