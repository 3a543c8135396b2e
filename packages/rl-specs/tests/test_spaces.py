"""Spaces: frozen records compared by value."""

from dataclasses import FrozenInstanceError

import pytest
import torch

from rl_specs import BinaryBox, CategoricalBox, ContinuousBox, MultiCategoricalBox
from rl_specs.spaces import bound_str


def test_boxes_compare_by_value() -> None:
    """Tensors inside are compared by shape, dtype and content."""
    box = ContinuousBox(torch.zeros(2), torch.ones(2))
    assert box == ContinuousBox(torch.zeros(2), torch.ones(2))
    assert hash(box) == hash(ContinuousBox(torch.zeros(2), torch.ones(2)))
    assert box != ContinuousBox(torch.zeros(2), torch.ones(2) * 2)
    assert box != ContinuousBox(torch.zeros(1), torch.ones(1))
    assert box != ContinuousBox(torch.zeros(2).double(), torch.ones(2).double())
    assert box != 3
    assert CategoricalBox(2) == CategoricalBox(2) != CategoricalBox(3)
    assert BinaryBox(2) == BinaryBox(2) != BinaryBox(3)
    assert MultiCategoricalBox((2, 3)).boxes == (CategoricalBox(2), CategoricalBox(3))


def test_boxes_are_frozen() -> None:
    """A field cannot be set."""
    with pytest.raises(FrozenInstanceError):
        CategoricalBox(2).n = 3  # type: ignore[misc]  # what is tested


def test_bounds_in_a_few_characters() -> None:
    """One number, the numbers, or their range."""
    assert (
        repr(ContinuousBox(torch.zeros(3), torch.tensor([1.0, 2.0, 0.5]))) == "ContinuousBox(low=0, high=[1, 2, 0.5])"
    )
    assert bound_str(torch.arange(10)) == "0..9"
    assert bound_str(torch.arange(3)) == "[0, 1, 2]"
    assert bound_str(torch.zeros(0)) == "[]"
    assert bound_str(torch.tensor([7, 7])) == "7"
