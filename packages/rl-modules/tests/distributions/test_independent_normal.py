"""Independent Gaussians."""

import math
from typing import Any

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from rl_modules import IndependentNormal
from rl_specs import MissingKeyError, ShapeError


def _pair() -> tuple[IndependentNormal, Any]:
    loc, scale = torch.randn(4, 3, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64) + 0.1
    return IndependentNormal(loc, scale), Independent(Normal(loc, scale), 1)


def test_log_prob_and_entropy_are_those_of_torch() -> None:
    """Log-density, entropy, mean and variance agree with torch's own distribution."""
    dist, reference = _pair()
    value = dist.sample((5,))
    torch.testing.assert_close(dist.log_prob(value), reference.log_prob(value))
    torch.testing.assert_close(dist.entropy(), reference.entropy())
    torch.testing.assert_close(dist.mean, reference.mean)
    torch.testing.assert_close(dist.variance, reference.variance)


def test_log_prob_of_the_mode_by_hand() -> None:
    """At the mode of a unit Gaussian in two dimensions the log-density is -log(2 pi)."""
    dist = IndependentNormal(torch.zeros(2), torch.ones(2))
    assert dist.log_prob(dist.mode).item() == pytest.approx(-math.log(2 * math.pi))


def test_divergence_is_that_of_torch() -> None:
    """`kl_divergence` uses the closed form."""
    (p, p_reference), (q, q_reference) = _pair(), _pair()
    torch.testing.assert_close(kl_divergence(p, q), kl_divergence(p_reference, q_reference))


def test_samples_have_the_moments() -> None:
    """The mean and deviation of many samples are the location and the scale."""
    torch.manual_seed(0)
    sample = IndependentNormal(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0])).sample((20_000,))
    torch.testing.assert_close(sample.mean(0), torch.tensor([1.0, -2.0]), atol=0.05, rtol=0)
    torch.testing.assert_close(sample.std(0), torch.tensor([0.5, 2.0]), atol=0.05, rtol=0)


def test_gradients_reach_the_parameters_through_rsample_alone() -> None:
    """`rsample` carries gradients, `sample` does not."""
    loc = torch.zeros(3, requires_grad=True)
    dist = IndependentNormal(loc, 1.0)
    dist.rsample().sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert loc.grad is not None
    assert torch.equal(loc.grad, torch.ones(3))
    assert not dist.sample().requires_grad


def test_location_can_be_squashed() -> None:
    """With `tanh_loc` the location is `upscale * tanh(loc / upscale)`."""
    dist = IndependentNormal(torch.tensor([7.0]), 1.0, tanh_loc=True, upscale=2.0)
    assert dist.mode.item() == pytest.approx(2 * math.tanh(3.5))


def test_event_dims_and_expansion() -> None:
    """The event's dimensions are those asked for, and expanding adds batch dimensions."""
    dist = IndependentNormal(torch.zeros(2, 3, 4), torch.ones(4), event_dim=2)
    assert (dist.batch_shape, dist.event_shape) == ((2,), (3, 4))
    assert dist.expand((5, 2)).log_prob(torch.zeros(3, 4)).shape == (5, 2)


def test_bad_parameters_are_refused() -> None:
    """Shapes that do not broadcast, too few dimensions and a missing parameter are errors that say so."""
    with pytest.raises(ShapeError, match="does not broadcast"):
        IndependentNormal(torch.zeros(3), torch.ones(2))
    with pytest.raises(ShapeError, match="at least 2 dimensions"):
        IndependentNormal(torch.zeros(3), torch.ones(3), event_dim=2)
    with pytest.raises(MissingKeyError, match='"scale" is None'):
        IndependentNormal(torch.zeros(3), None)  # type: ignore[arg-type]  # what a module passes for a missing entry
