"""Tests of the operations that pick, repeat and reorder places."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rl_specs import Bounded, Categorical, Composite, OneHot, ShapeError, StackedComposite, TensorSpec, Unbounded

LOW = torch.arange(6.0).reshape(2, 3)
Op = Callable[[Any], Any]


def by_place() -> Bounded:
    """Bounds that are the number of the place, and half more."""
    return Bounded(LOW, LOW + 0.5)


OPERATIONS: dict[str, Op] = {
    "split": lambda x: torch.split(x, 2, 1),
    "split by sizes": lambda x: torch.split(x, [1, 2], dim=1),
    "chunk": lambda x: torch.chunk(x, 2, dim=1),
    "tensor_split": lambda x: torch.tensor_split(x, 2, dim=-1),
    "tensor_split at places": lambda x: torch.tensor_split(x, [1, 1], dim=1),
    "narrow": lambda x: torch.narrow(x, 1, -2, 2),
    "select": lambda x: torch.select(x, 1, 2),
    "movedim": lambda x: torch.movedim(x, 0, -1),
    "moveaxis": lambda x: torch.moveaxis(x, (0, 1), (1, 0)),
    "swapaxes": lambda x: torch.swapaxes(x, 0, 1),
    "swapdims": lambda x: torch.swapdims(x, 0, 1),
    "ravel": torch.ravel,
    "broadcast_to": lambda x: torch.broadcast_to(x, (4, 2, 3)),
    "expand_as": lambda x: x.expand_as(torch.zeros(4, 2, 3)),
    "flip": lambda x: torch.flip(x, [0, 1]),
    "roll": lambda x: torch.roll(x, 1, 1),
    "roll in a row": lambda x: torch.roll(x, 1),
    "repeat": lambda x: x.repeat(2, 1, 2),
    "repeat_interleave": lambda x: torch.repeat_interleave(x, 2, dim=1),
    "repeat_interleave in a row": lambda x: torch.repeat_interleave(x, 2),
    "repeat_interleave by place": lambda x: x.repeat_interleave(torch.tensor([2, 0]), 0),
    "gather": lambda x: torch.gather(x, 1, torch.tensor([[2, 0], [1, 1]])),
    "take_along_dim": lambda x: torch.take_along_dim(x, torch.tensor([[2, 0]]), dim=1),
    "masked_select": lambda x: torch.masked_select(x, torch.tensor([True, False, True])),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_bounds_move_as_a_tensor_does(name: str) -> None:
    """The lower bounds after an operation of torch's namespace are those that the operation makes of the tensor."""
    moved, expected = OPERATIONS[name](by_place()), OPERATIONS[name](LOW)
    if isinstance(expected, Tensor):
        moved, expected = (moved,), (expected,)
    assert len(moved) == len(expected)
    for spec, low in zip(moved, expected, strict=True):
        assert spec == Bounded(low, low + 0.5, low.shape)


def test_entries_go_along_whole() -> None:
    """Dimensions of an entry behind the batch are as they were, whatever happens to the batch."""
    spec = Composite(a=Unbounded((4, 5)), n={"b": OneHot(3, (4, 3))}, shape=(4,))
    assert [part.shape[0] for part in spec.split([1, 3])] == [1, 3]
    assert spec.roll(1) == spec.flip(0) == spec
    assert spec.gather(0, torch.tensor([3, 0]))["n", "b"] == OneHot(3, (2, 3))
    assert spec.take_along_dim(torch.tensor([3, 0]), 0)["a"].shape == (2, 5)
    assert spec.repeat(3)["a"].shape == (12, 5)
    assert spec.masked_select(torch.tensor([True, False, True, False]))["n", "b"].shape == (2, 3)
    with pytest.raises(IndexError, match="dimension -2"):
        spec.flip(-2)


def test_masks_go_along() -> None:
    """A mask of categories is that of the places that they came from."""
    mask = torch.tensor([[True, False], [False, True]])
    spec = Categorical(2, (2,), mask=mask)
    assert spec.flip(0) == Categorical(2, (2,), mask=mask.flip(0))
    assert spec.repeat(2) == Categorical(2, (4,), mask=mask.repeat(2, 1))
    assert spec.gather(0, torch.tensor([1, 1, 0])) == Categorical(2, (3,), mask=mask[[1, 1, 0]])


def test_stacks_of_different_specs_are_rearranged() -> None:
    """A reversed stack has the stacked specs in reverse; a part of one of them is of its kind."""
    first, second = Composite(a=Unbounded(2)), Composite(b=Unbounded(3))
    whole: Any = torch.stack([first, second])  # type: ignore[list-item]  # specs stack too
    assert whole.flip(0) == whole.roll(1, 0) == StackedComposite(second, first, dim=0)
    assert [part.shape for part in whole.split(1)] == [(1,), (1,)]
    assert whole.gather(0, torch.tensor([1])).unbind(0)[0] == second


def test_sizes_that_are_open_stay_where_they_are() -> None:
    """Operations reach the dimensions in front of an open one, and say so beyond."""
    spec = Unbounded((2, 3, -1))
    assert spec.movedim(0, 1).shape == (3, 2, -1)
    assert spec.repeat(2, 1, 1).shape == (4, 3, -1)
    assert spec.gather(1, torch.zeros(2, 5, dtype=torch.int64)).shape == (2, 5, -1)
    assert [part.shape for part in spec.split(2, 1)] == [(2, 2, -1), (2, 1, -1)]
    with pytest.raises(ShapeError, match=r"1 for the last 1"):
        spec.repeat(1, 1, 2)
    with pytest.raises(ShapeError, match=r"\(-1\)"):
        spec.flip(2)


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (lambda x: x.split(0), ShapeError, "at least 1"),
        (lambda x: x.split([1, 3], 1), ShapeError, r"add up to 3, found \(1, 3\)"),
        (lambda x: x.chunk(0), ShapeError, "at least 1"),
        (lambda x: x.tensor_split(0), ShapeError, "at least 1"),
        (lambda x: x.narrow(1, 2, 2), IndexError, "start 2, length 2"),
        (lambda x: x.movedim(0, 2), IndexError, "dimension 2"),
        (lambda x: x.movedim((0, 1), (0, 0)), ShapeError, "movedim"),
        (lambda x: x.roll((1, 2), 0), ShapeError, "roll"),
        (lambda x: x.repeat(2), ShapeError, "each of 2 dimensions"),
        (lambda x: x.repeat_interleave(torch.tensor([1, 2, 3]), 0), ShapeError, "repeat_interleave"),
        (lambda x: x.gather(1, torch.tensor([0])), ShapeError, "2 to 2 dimensions"),
        (lambda x: x.gather(1, torch.tensor([[0, 3], [0, 0]])), IndexError, "0 to 3"),
        (lambda x: x.gather(1, torch.tensor([[0.0]])), ShapeError, "gather"),
        (lambda x: x.masked_select(torch.ones(4, dtype=torch.bool)), ShapeError, r"\(4,\)"),
    ],
)
def test_what_does_not_fit_is_said(wrong: Callable[[TensorSpec], Any], error: type[Exception], says: str) -> None:
    """Operations that the sizes do not allow name the spec's kind, what they take and what they got."""
    with pytest.raises(error, match=rf"(?s)Bounded.*{says}"):
        wrong(by_place())


def test_a_value_of_several_places_stays_whole() -> None:
    """The last dimension of a one-hot spec is one value, which no operation takes apart."""
    spec = OneHot(3, (2, 3))
    ways: list[Op] = [
        lambda x: x.flip(1),
        lambda x: x.roll(1, 1),
        lambda x: x.split(2, 1),
        lambda x: x.gather(0, torch.tensor([[0, 1, 0]])),
        lambda x: x[torch.tensor([0, 1, 0]), torch.arange(3)],
        lambda x: x.repeat(1, 2),
    ]
    for way in ways:
        with pytest.raises(ShapeError, match="one value"):
            way(spec)
    assert spec.gather(0, torch.tensor([1])) == OneHot(3, (1, 3))
