"""Row numbers from brackets."""

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


@pytest.mark.parametrize("index", [7, -8, [0, 7], [-8], [True, False], torch.zeros(2, 2).long(), [0.5]])
def test_rows_that_are_not_there_are_errors(index: object) -> None:
    """Numbers out of range, masks of another length and other tensors raise `IndexError` with the component."""
    with pytest.raises(IndexError, match="test: "):
        row_numbers(index, 7, "test")  # type: ignore[arg-type]  # wrong on purpose
