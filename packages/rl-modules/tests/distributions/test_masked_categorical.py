"""Distributions over a finite set of actions of which some are not allowed."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rl_modules import Categorical, MaskedCategorical, MaskedOneHotCategorical
from rl_specs import MissingKeyError, ShapeError


@st.composite
def masked(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Logits and a mask with at least one allowed action."""
    n = draw(st.integers(2, 6))
    mask = draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(any))
    logits = draw(st.lists(st.floats(-30, 30), min_size=n, max_size=n))
    return torch.tensor(logits, dtype=torch.float64), torch.tensor(mask)


@settings(max_examples=40, deadline=None)
@given(case=masked())
def test_is_the_distribution_over_the_allowed_actions(case: tuple[Tensor, Tensor]) -> None:
    """Log-probabilities and entropy are those of the distribution over the allowed actions alone."""
    logits, mask = case
    dist = MaskedCategorical(logits, mask=mask)
    alone = Categorical(logits[mask])
    allowed = mask.nonzero().squeeze(-1)
    torch.testing.assert_close(dist.log_prob(allowed), alone.log_prob(torch.arange(len(allowed))))
    torch.testing.assert_close(dist.entropy(), alone.entropy())
    assert dist.mode.item() in allowed


@settings(max_examples=20, deadline=None)
@given(case=masked())
def test_a_masked_action_is_never_drawn(case: tuple[Tensor, Tensor]) -> None:
    """No draw has a masked action, whatever the logits."""
    logits, mask = case
    assert mask[MaskedCategorical(logits, mask=mask).sample((500,))].all()
    onehot = MaskedOneHotCategorical(logits, mask=mask).sample((500,))
    assert not onehot[:, ~mask].any()
    assert torch.equal(onehot.sum(-1), torch.ones(500, dtype=torch.int64))


def test_values_by_hand() -> None:
    """With the likeliest of three actions masked, the other two share the probability."""
    dist = MaskedCategorical(probs=torch.tensor([0.2, 0.6, 0.2]), mask=torch.tensor([True, False, True]))
    torch.testing.assert_close(dist.probs, torch.tensor([0.5, 0.0, 0.5]))
    assert dist.entropy().item() == pytest.approx(math.log(2))
    assert dist.log_prob(torch.tensor(1)).item() == -math.inf


def test_gradients_are_finite_and_skip_masked_actions() -> None:
    """Entropy and log-probabilities send finite gradients to the logits, none to the masked ones."""
    logits = torch.randn(4, 3, requires_grad=True)
    mask = torch.tensor([[True, False, True]]).expand(4, 3)
    dist = MaskedOneHotCategorical(logits, mask=mask)
    loss = dist.entropy().sum() + dist.log_prob(dist.sample()).sum()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad[:, 1] == 0).all()


def test_a_row_without_allowed_action_is_refused() -> None:
    """A mask with a row of False is an error that counts the rows."""
    mask = torch.tensor([[True, False], [False, False]])
    with pytest.raises(ValueError, match="1 of 2 rows"):
        MaskedCategorical(torch.zeros(2, 2), mask=mask)


def test_bad_masks_are_refused() -> None:
    """A missing mask and one of another shape are errors."""
    with pytest.raises(ShapeError, match=r"Expected \[3\], found \[2\]"):
        MaskedCategorical(torch.zeros(3), mask=torch.ones(2, dtype=torch.bool))
    with pytest.raises(MissingKeyError, match='"mask" is None'):
        MaskedCategorical(torch.zeros(3), mask=None)  # type: ignore[arg-type]  # what a module passes for a missing entry


def test_expansion_keeps_the_mask() -> None:
    """An expanded distribution excludes the same actions."""
    dist = MaskedCategorical(torch.zeros(3), mask=torch.tensor([True, False, True])).expand((100,))
    assert not (dist.sample() == 1).any()
