"""Masks: categories that are ruled out are not drawn, not accepted, not projected to, not listed."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rl_specs import Categorical, DTypeError, MultiCategorical, MultiOneHot, OneHot, ShapeError, SpecError, TensorSpec
from rl_specs._masked import MaskedSpec

MASK = torch.tensor([True, False, True, True])
KINDS: dict[str, Callable[[], MaskedSpec]] = {
    "Categorical": lambda: Categorical(4, (3,)),
    "OneHot": lambda: OneHot(4, (3, 4)),
    "MultiCategorical": lambda: MultiCategorical([2, 2], (3, 2)),
    "MultiOneHot": lambda: MultiOneHot([2, 2], (3, 4)),
}


def categories(spec: TensorSpec, value: Tensor) -> Tensor:
    """Category numbers of a value of any of the kinds."""
    return value if isinstance(spec, Categorical | MultiCategorical) else spec.to_categorical(value)  # type: ignore[attr-defined]  # of the one-hot kinds


@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_uniform_over_what_is_left(kind: str) -> None:
    """Each allowed category about equally often, the others never."""
    torch.manual_seed(0)
    spec = KINDS[kind]()
    spec.update_mask(MASK)
    value = spec.rand((4_000,))
    assert value.shape == (4_000, *spec.shape)
    assert spec.is_in(value)
    found = categories(spec, value)
    if kind.startswith("Multi"):
        assert torch.bincount(found[..., 0].flatten(), minlength=2).tolist() == [12_000, 0]
        assert torch.bincount(found[..., 1].flatten()).min() > 5_700
    else:
        counts = torch.bincount(found.flatten(), minlength=4)
        assert counts[1] == 0
        assert counts[MASK].min() > 3_800


def test_each_place_has_its_mask() -> None:
    """A mask with the shape of the batch holds place by place, under leading dimensions too."""
    spec = Categorical(3, (2,), mask=torch.tensor([[True, False, False], [False, False, True]]))
    assert spec.rand((50,)).tolist() == [[0, 2]] * 50
    assert spec.is_in(torch.tensor([[0, 2], [0, 2]]))
    assert not spec.is_in(torch.tensor([0, 0]))
    assert spec.project(torch.tensor([[2, 1], [1, 0]])).tolist() == [[0, 2], [0, 2]]
    assert spec[1].mask is not None
    assert spec[1].rand().item() == 2


def test_projection_goes_to_the_nearest_that_is_left() -> None:
    """Categories by distance, the lower one of two; one-hot vectors by the greatest element."""
    spec = Categorical(5, mask=torch.tensor([True, False, False, False, True]))
    assert spec.project(torch.tensor([-3, 1, 2, 3, 9])).tolist() == [0, 0, 0, 4, 4]
    hot = OneHot(3, mask=torch.tensor([True, False, True]))
    assert hot.project(torch.tensor([0.1, 9.0, 0.2])).tolist() == [False, False, True]
    assert hot.project(torch.tensor([False, True, False])).tolist() == [True, False, False]
    pair = MultiOneHot([2, 2], mask=torch.tensor([False, True, True, True]))
    assert pair.project(torch.tensor([5.0, 1.0, 3.0, 2.0])).tolist() == [False, True, True, False]
    assert MultiCategorical([2, 3], mask=torch.tensor([False, True, True, False, True])).project(
        torch.tensor([[0, 1], [1, 2]])
    ).tolist() == [[1, 0], [1, 2]]


@pytest.mark.parametrize("lowest", [float("-inf"), torch.iinfo(torch.int64).min])
def test_projection_of_lowest_scores_stays_with_what_is_left(lowest: float) -> None:
    """Where every score is the least there is, as masked logits are, the first category left is taken."""
    value = torch.tensor([lowest] * 3)
    assert OneHot(3, mask=torch.tensor([False, True, True])).project(value).tolist() == [False, True, False]
    assert MultiOneHot([1, 2], mask=torch.tensor([True, False, True])).project(value).tolist() == [True, False, True]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_ruled_out_is_not_in(kind: str) -> None:
    """A value that was in is out once its category is ruled out, and in again without a mask."""
    spec = KINDS[kind]()
    value = spec.enumerate()[-1]
    assert spec.is_in(value)
    last = torch.tensor([True, True, True, False])
    spec.update_mask(last)
    assert not spec.is_in(value)
    with pytest.raises(SpecError, match="domain"):
        spec.assert_is_in(value)
    spec.update_mask(None)
    assert spec.mask is None
    assert spec.is_in(value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_is_kept_by_conversions_and_counts_in_comparisons(kind: str) -> None:
    """One-hot and categorical forms have the same mask, and so do clones; specs with other masks differ."""
    spec = KINDS[kind]()
    plain = spec.clone()
    spec.update_mask(MASK)
    assert spec != plain
    assert hash(spec) == hash(plain)
    assert "mask" in repr(spec)
    twin = spec.clone()
    assert twin == spec
    twin.update_mask(~torch.tensor([False, False, True, False]))
    assert twin != spec
    for other in (spec.to_one_hot_spec(), spec.to_categorical_spec()):  # type: ignore[attr-defined]  # all kinds
        assert other.mask.tolist() == MASK.expand(3, 4).tolist()
        assert other.is_in(other.rand((50,)))


def test_a_mask_is_the_specs_own() -> None:
    """A later change of the tensor given does not reach the spec."""
    mask = MASK.clone()
    spec = Categorical(4, mask=mask)
    mask.fill_(False)
    assert spec.mask is not None
    assert spec.mask.tolist() == MASK.tolist()


def test_bad_masks_are_refused_and_leave_the_spec_as_it_was() -> None:
    """No tensor, another dtype, a shape that does not fit, a place without any category."""
    spec = MultiOneHot([2, 3], (4, 5))
    with pytest.raises(DTypeError, match=r"update_mask: mask is no tensor.*found list. Pass torch.tensor\(mask"):
        spec.update_mask([True] * 5)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(DTypeError, match=r"mask\.bool"):
        spec.update_mask(torch.ones(5))
    with pytest.raises(ShapeError, match=r"\(4, 5\)"):
        spec.update_mask(torch.ones(3, dtype=torch.bool))
    with pytest.raises(SpecError, match="every category"):
        spec.update_mask(torch.tensor([False, False, True, True, True]))
    assert spec.mask is None


@pytest.mark.parametrize("kind", KINDS)
def test_listing_with_the_mask(kind: str) -> None:
    """`enumerate(use_mask=True)` is what is left, each value once."""
    spec = KINDS[kind]()
    spec.update_mask(MASK)
    everything, left = spec.enumerate(), spec.enumerate(use_mask=True)
    assert len(everything) == spec.cardinality() == len(everything.unique(dim=0))
    assert [row.tolist() for row in left] == [row.tolist() for row in everything if spec.is_in(row)]


def test_listing_needs_one_mask_for_all_places() -> None:
    """Places with different masks have no common list."""
    spec = Categorical(3, (2,), mask=torch.tensor([[True, False, True], [True, True, True]]))
    with pytest.raises(SpecError, match="different masks"):
        spec.enumerate(use_mask=True)
    assert spec[0].enumerate(use_mask=True).tolist() == [0, 2]
