"""The squashed Gaussian."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import kl_divergence
from torch.utils._python_dispatch import TorchDispatchMode

from rl_modules import IndependentNormal, TanhNormal
from rl_specs import MissingKeyError, ShapeError

FIXTURE = json.loads((Path(__file__).parents[1] / "fixtures" / "tanh_normal_torchrl.json").read_text())
EPS = torch.finfo(torch.float32).eps


def reference_log_prob(value: Tensor, loc: Tensor, scale: Tensor, low: float, high: float) -> Tensor:
    """Log-density in float64 by the textbook formula, for values inside the bounds."""
    value, loc, scale = value.double(), loc.double(), scale.double()
    below, above = value - low, high - value
    u = 0.5 * (below / above).log()
    gaussian = -0.5 * ((u - loc) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)
    slope = 2 * below * above / (high - low)
    return (gaussian - slope.log()).sum(-1)


@pytest.mark.parametrize("case", FIXTURE, ids=[str(case["kwargs"]) for case in FIXTURE])
def test_agrees_with_torchrl(case: dict[str, Any]) -> None:
    """Log-density and deterministic sample agree with TorchRL 0.14.1 on recorded inputs."""
    bounds: dict[str, Any] = {k: torch.tensor(v) if isinstance(v, list) else v for k, v in case["kwargs"].items()}
    dist = TanhNormal(torch.tensor(case["loc"]), torch.tensor(case["scale"]), **bounds)
    torch.testing.assert_close(dist.log_prob(torch.tensor(case["value"])), torch.tensor(case["log_prob"]))
    expected = torch.tensor(case["deterministic_sample"])
    torch.testing.assert_close(dist.deterministic_sample, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(dist.mode, dist.deterministic_sample, atol=0, rtol=0)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-2.0, 2.0), (0.25, 0.75)])
def test_log_prob_near_the_bounds_is_that_of_float64(low: float, high: float) -> None:
    """In float32, down to the last representable value before a bound, the log-density is that of float64."""
    steps = torch.tensor([1.0, 2.0, 3.0, 10.0, 1e3, 1e6]).reshape(-1, 1)
    ulp = torch.nextafter(torch.tensor(high), torch.tensor(math.inf)).item() - high
    value = torch.cat([high - steps * ulp, low + steps * ulp, torch.tensor([[0.5 * (low + high)]])])
    loc, scale = torch.zeros_like(value), torch.full_like(value, 1.5)
    expected = reference_log_prob(value, loc, scale, low, high)
    actual = TanhNormal(loc, scale, low=low, high=high).log_prob(value)
    torch.testing.assert_close(actual.double(), expected, atol=1e-4, rtol=1e-5)
    tensors = TanhNormal(loc, scale, low=torch.tensor([low]), high=torch.tensor([high])).log_prob(value)
    torch.testing.assert_close(tensors, actual)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_and_beyond_a_bound_a_value_counts_as_just_inside(dtype: torch.dtype) -> None:
    """At a bound and beyond it the log-density is finite: that of a value a quarter step of the width inside."""
    loc, scale = torch.tensor([[0.3]], dtype=dtype), torch.tensor([[0.8]], dtype=dtype)
    dist = TanhNormal(loc, scale)
    distance = 0.5 * torch.finfo(dtype).eps
    u = 0.5 * math.log((2 - distance) / distance)
    slope = 0.5 * distance * (2 - distance)
    for sign in (1.0, -1.0):
        deviation = (sign * u - 0.3) / 0.8
        expected = -0.5 * deviation**2 - math.log(0.8) - 0.5 * math.log(2 * math.pi) - math.log(2 * slope)
        for value in (sign, 1.5 * sign, 100 * sign):
            assert dist.log_prob(torch.tensor([[value]], dtype=dtype)).item() == pytest.approx(expected, rel=1e-5)


def test_density_integrates_to_one() -> None:
    """The exponential of `log_prob` integrates to 1 over the interval, its bounds included."""
    loc = torch.tensor([0.4], dtype=torch.float64)
    dist = TanhNormal(loc, torch.tensor([0.5], dtype=torch.float64), low=-1.0, high=3.0)
    grid = torch.linspace(-1.0, 3.0, 20_001, dtype=torch.float64)
    density = dist.expand((20_001,)).log_prob(grid.unsqueeze(-1)).exp()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("loc_value", [0.0, 3.0, 9.5, 40.0, -40.0])
def test_the_drawn_tensor_is_exact_even_where_tanh_saturates(loc_value: float) -> None:
    """`log_prob` of the tensor just drawn uses its pre-image, however far into saturation it is."""
    loc, scale = torch.full((6, 2), loc_value), torch.full((6, 2), 0.7)
    dist = TanhNormal(loc, scale, low=-3.0, high=1.0)
    torch.manual_seed(0)
    sample = dist.rsample()
    torch.manual_seed(0)
    u = (loc + scale * torch.randn_like(loc)).double()
    slope = math.log(2.0) + 2 * (math.log(2.0) - u - torch.log1p((-2 * u).exp()))
    slope = torch.where(u < 0, math.log(2.0) + 2 * (math.log(2.0) + u - torch.log1p((2 * u).exp())), slope)
    gaussian = -0.5 * ((u - loc) / scale) ** 2 - scale.double().log() - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(dist.log_prob(sample).double(), (gaussian - slope).sum(-1), atol=1e-4, rtol=1e-5)


def test_the_slope_is_that_of_float64_mathematics() -> None:
    """In float64 the density of a drawn tensor has an error of a few rounding steps, between the tails of tanh too."""
    loc = torch.linspace(-12.0, 12.0, 49, dtype=torch.float64).unsqueeze(-1)
    dist = TanhNormal(loc, 1e-3)
    sample = dist.rsample()
    u = dist._pre_image
    gaussian = -0.5 * ((u - loc) / 1e-3) ** 2 - math.log(1e-3) - 0.5 * math.log(2 * math.pi)
    slope = 2.0 * (math.log(2.0) - u.abs() - torch.log1p((-2.0 * u.abs()).exp()))
    torch.testing.assert_close(dist.log_prob(sample), (gaussian - slope).sum(-1), atol=1e-10, rtol=1e-13)


def test_gradients_are_finite_at_saturation() -> None:
    """Drawing at saturation, and values at a bound, give finite gradients of sample and log-density."""
    for loc_value in (0.0, 8.0, 50.0, -50.0):
        loc = torch.full((4, 2), loc_value, requires_grad=True)
        scale = torch.full((4, 2), 0.3, requires_grad=True)
        dist = TanhNormal(loc, scale, low=torch.full((2,), -2.0), high=torch.full((2,), 2.0))
        sample = dist.rsample()
        bound = torch.full_like(sample, 2.0).detach().requires_grad_()
        loss = dist.log_prob(sample).sum() + sample.sum() + dist.log_prob(bound).sum()
        gradients = torch.autograd.grad(loss, [loc, scale, bound])
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_gradient_of_a_draw_without_gradient_is_the_score() -> None:
    """After `sample`, the gradient of `log_prob` is that of the density at a constant value."""
    loc = torch.tensor([[0.3, -0.8]], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([[0.5, 1.2]], dtype=torch.float64, requires_grad=True)
    dist = TanhNormal(loc, scale)
    sample = dist.sample()
    known = torch.autograd.grad(dist.log_prob(sample).sum(), [loc, scale])
    foreign = torch.autograd.grad(dist.log_prob(sample.clone()).sum(), [loc, scale])
    torch.testing.assert_close(known, foreign)
    assert known[0].abs().sum() > 0


def test_gradient_of_a_pathwise_draw_is_the_total_derivative() -> None:
    """After `rsample`, the gradient of `log_prob` follows the sample too, as it does through a copy."""
    loc = torch.tensor([[0.3, -0.8]], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([[0.5, 1.2]], dtype=torch.float64, requires_grad=True)
    dist = TanhNormal(loc, scale, low=-1.0, high=2.0)
    sample = dist.rsample()
    known = torch.autograd.grad(dist.log_prob(sample).sum(), [loc, scale], retain_graph=True)
    copied = torch.autograd.grad(dist.log_prob(sample.clone()).sum(), [loc, scale])
    torch.testing.assert_close(known, copied)


def test_a_draw_changed_in_place_is_a_new_value() -> None:
    """A drawn tensor that was changed in place is no longer taken for the one that was drawn."""
    dist = TanhNormal(torch.zeros(3, 2), torch.ones(3, 2))
    sample = dist.sample()
    before = dist.log_prob(sample)
    sample.mul_(0.5)
    torch.testing.assert_close(dist.log_prob(sample), dist.log_prob(sample.clone()))
    assert not torch.allclose(dist.log_prob(sample), before)


def test_works_in_inference_mode() -> None:
    """Drawing and scoring work under inference mode, whose tensors have no version counter."""
    with torch.inference_mode():
        dist = TanhNormal(torch.zeros(3, 2), torch.ones(3, 2))
        sample = dist.rsample()
        torch.testing.assert_close(dist.log_prob(sample), dist.log_prob(sample.clone()))


@settings(max_examples=60, deadline=None)
@given(
    low=st.floats(-10, 10, width=32),
    width=st.floats(0.01, 20),
    loc=st.floats(-30, 30),
    scale=st.floats(0.01, 30),
    are_tensors=st.booleans(),
)
def test_samples_stay_inside_the_bounds(low: float, width: float, loc: float, scale: float, are_tensors: bool) -> None:
    """In float32 no sample, mode or mean leaves `[low, high]`, and all are finite."""
    torch.manual_seed(0)
    bounds = torch.tensor(low), torch.tensor(low + width)
    given_bounds: Any = bounds if are_tensors else (low, low + width)
    dist = TanhNormal(torch.full((50,), loc), scale, low=given_bounds[0], high=given_bounds[1])
    for value in (dist.sample((4,)), dist.mode, dist.mean):
        assert value.isfinite().all()
        assert (value >= bounds[0]).all()
        assert (value <= bounds[1]).all()


def test_tanh_never_exceeds_one() -> None:
    """Over a dense range of pre-images, the image in float32 stays within symmetric bounds."""
    dist = TanhNormal(torch.linspace(-30.0, 30.0, 600_001), 1.0)
    assert dist.mode.abs().max().item() == 1.0


def test_bounds_of_a_finer_dtype_are_rounded_inwards() -> None:
    """A float64 bound that float32 cannot hold becomes the nearest float32 value inside."""
    low, high = torch.tensor([-0.1], dtype=torch.float64), torch.tensor([0.1], dtype=torch.float64)
    for sign in (1.0, -1.0):
        dist = TanhNormal(torch.tensor([50.0 * sign]), 0.1, low=low, high=high)
        assert dist.sample().dtype == torch.float32
        assert abs(dist.mode.double().item()) <= 0.1
        assert dist.mode.item() == pytest.approx(0.1 * sign)


def test_samples_have_the_distribution() -> None:
    """The fraction of samples below any value is the Gaussian's below its pre-image (Kolmogorov-Smirnov, 0.1 %)."""
    torch.manual_seed(0)
    n = 20_000
    dist = TanhNormal(torch.tensor([0.5]), torch.tensor([0.8]), low=0.0, high=4.0)
    sample = dist.sample((n,)).squeeze(-1).sort().values.double()
    u = torch.atanh(sample / 2.0 - 1.0)
    cdf = 0.5 * (1 + torch.erf((u - 0.5) / (0.8 * math.sqrt(2.0))))
    distance = (cdf - torch.arange(1, n + 1) / n).abs().max().item()
    assert distance < 1.95 / math.sqrt(n)


@pytest.mark.parametrize("scale", [0.05, 0.7, 3.0, 10.0])
def test_mean_and_variance_are_those_of_many_samples(scale: float) -> None:
    """Mean and variance agree with a fine quadrature in float64."""
    loc = torch.tensor([-2.0, 0.0, 0.9])
    dist = TanhNormal(loc, scale, low=-1.0, high=2.0)
    x = torch.linspace(-10.0, 10.0, 20_001, dtype=torch.float64).unsqueeze(-1)
    weights = (-0.5 * x**2).exp()
    value = 0.5 + 1.5 * torch.tanh(loc.double() + scale * x)
    mean = (weights * value).sum(0) / weights.sum()
    variance = (weights * (value - mean) ** 2).sum(0) / weights.sum()
    torch.testing.assert_close(dist.mean.double(), mean, atol=2e-6, rtol=0)
    torch.testing.assert_close(dist.variance.double(), variance, atol=5e-6, rtol=0)


def test_median_splits_the_samples() -> None:
    """Half of the samples lie below the median."""
    torch.manual_seed(0)
    dist = TanhNormal(torch.tensor([0.7]), 1.0)
    assert (dist.sample((20_000,)) < dist.median).float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_divergence_is_that_of_the_gaussians() -> None:
    """`kl_divergence` is the Gaussians' own, which many samples confirm; other bounds are refused."""
    torch.manual_seed(0)
    p = TanhNormal(torch.tensor([0.2, -0.4]), 0.5, low=-2.0, high=2.0)
    q = TanhNormal(torch.tensor([0.0, 0.1]), 0.9, low=-2.0, high=2.0)
    expected = kl_divergence(IndependentNormal(p.loc, p.scale), IndependentNormal(q.loc, q.scale))
    torch.testing.assert_close(kl_divergence(p, q), expected)
    sample = p.sample((20_000,))
    estimate = (p.log_prob(sample) - q.log_prob(sample)).mean()
    torch.testing.assert_close(estimate, expected, atol=0.03, rtol=0)
    with pytest.raises(NotImplementedError, match="bounds differ"):
        kl_divergence(p, TanhNormal(torch.zeros(2), 1.0))


def test_entropy_says_that_there_is_no_closed_form() -> None:
    """Entropy raises the error by which losses know to estimate it."""
    with pytest.raises(NotImplementedError, match="no closed form"):
        TanhNormal(torch.zeros(2), 1.0).entropy()


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (-2.0, 0.5), (torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 3.0]))])
def test_sampled_entropy_is_minus_the_density_of_draws(samples: int, bounds: Any) -> None:
    """With the same random numbers, value and gradients are those of `-log_prob` averaged over `rsample`."""
    loc = torch.randn(20, 2, requires_grad=True)
    scale = (torch.rand(20, 2) + 0.1).requires_grad_()
    dist = TanhNormal(loc, scale, low=bounds[0], high=bounds[1])
    found = []
    for is_direct in (True, False):
        torch.manual_seed(0)
        value = dist.sampled_entropy(samples) if is_direct else -dist.log_prob(dist.rsample((samples,))).mean(0)
        found.append((value, *torch.autograd.grad(value.sum(), [loc, scale])))
    assert found[0][0].shape == (20,)
    torch.testing.assert_close(found[0], found[1])


def test_both_spellings_of_the_bounds_mean_the_same() -> None:
    """`min`/`max` are `low`/`high`; giving one bound in both spellings is an error that names them."""
    loc, value = torch.zeros(2), torch.tensor([0.5, 1.5])
    new, old = TanhNormal(loc, 1.0, low=-2.0, high=2.0), TanhNormal(loc, 1.0, min=-2.0, max=2.0)
    assert torch.equal(new.log_prob(value), old.log_prob(value))
    with pytest.raises(TypeError, match='"low" and "min"'):
        TanhNormal(loc, 1.0, low=-1.0, min=-1.0)
    with pytest.raises(TypeError, match='"high" and "max"'):
        TanhNormal(loc, 1.0, high=1.0, max=1.0)


def test_location_can_be_squashed() -> None:
    """With `tanh_loc` the location is `upscale * tanh(loc / upscale)`, else it is left alone."""
    assert TanhNormal(torch.tensor([7.0]), 1.0).loc.item() == 7.0
    assert TanhNormal(torch.tensor([7.0]), 1.0, tanh_loc=True).loc.item() == pytest.approx(5 * math.tanh(1.4))


def test_event_dims() -> None:
    """One trailing dimension is the event unless told otherwise; `log_prob` sums over the event."""
    loc = torch.zeros(2, 3, 4)
    for event_dims, batch in ((None, (2, 3)), (0, (2, 3, 4)), (2, (2,))):
        dist = TanhNormal(loc, 1.0, event_dims=event_dims)
        assert dist.batch_shape == batch
        assert dist.log_prob(dist.sample((5,))).shape == (5, *batch)
    assert TanhNormal(torch.tensor(0.0), 1.0).event_shape == ()


def test_bad_arguments_are_refused() -> None:
    """Bounds in the wrong order, shapes that do not fit, a missing parameter and an unknown keyword are errors."""
    with pytest.raises(ValueError, match="low is not below high"):
        TanhNormal(torch.zeros(2), 1.0, low=1.0, high=-1.0)
    with pytest.raises(ShapeError, match="does not broadcast"):
        TanhNormal(torch.zeros(3), torch.ones(2))
    with pytest.raises(ShapeError, match="at least 3 dimensions"):
        TanhNormal(torch.zeros(2, 3), 1.0, event_dims=3)
    with pytest.raises(MissingKeyError, match='"loc" is None'):
        TanhNormal(None, 1.0)  # type: ignore[arg-type]  # what a module passes for a missing entry
    with pytest.raises(TypeError, match="lower"):
        TanhNormal(torch.zeros(2), 1.0, lower=0.0)  # type: ignore[call-arg]  # the point of the test


class CountOperations(TorchDispatchMode):
    """Counts the tensor operations run inside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation."""
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_construction_runs_no_tensor_operation() -> None:
    """Building a distribution from a network's outputs and bounds in tensors does no arithmetic at all."""
    loc, scale, low = torch.zeros(3, 2), torch.ones(3, 2), torch.full((2,), -1.0)
    high = -low
    with CountOperations() as counter:
        TanhNormal(loc, scale, low=low, high=high, tanh_loc=False)
    assert counter.count == 0


def test_nothing_is_read_back_from_the_device() -> None:
    """Building, drawing and scoring work on tensors without data, so they never wait for a device."""
    with torch.device("meta"):
        dist = TanhNormal(torch.zeros(3, 2), torch.ones(3, 2), low=torch.zeros(2), high=torch.ones(2))
        sample = dist.rsample()
        assert dist.log_prob(sample).shape == dist.log_prob(torch.zeros(3, 2)).shape == (3,)
        assert dist.mean.shape == dist.mode.shape == (3, 2)


def _draw_and_score(loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dist = TanhNormal(loc, scale, low=low, high=high)
    sample = dist.rsample()
    return sample, dist.log_prob(sample), dist.log_prob(sample.clone())


def test_compiled_sampling_has_the_eager_distribution() -> None:
    """Compiled as one graph, draws and log-densities are those of eager mode, and successive draws are independent."""
    torch.manual_seed(0)
    compiled = torch.compile(_draw_and_score, fullgraph=True, backend="eager")
    arguments = torch.full((2_000, 1), 0.2), torch.full((2_000, 1), 0.6), torch.tensor([-1.0]), torch.tensor([2.0])
    sample, known, foreign = compiled(*arguments)
    torch.testing.assert_close(known, foreign, atol=1e-4, rtol=1e-4)
    again = compiled(*arguments)[0]
    eager = torch.cat([_draw_and_score(*arguments)[0] for _ in range(5)])
    assert sample.std().item() == pytest.approx(eager.std().item(), rel=0.05)
    assert sample.mean().item() == pytest.approx(eager.mean().item(), abs=0.05)
    correlation = torch.corrcoef(torch.cat([sample, again], -1).T)[0, 1]
    assert abs(correlation.item()) < 0.08


def test_vmap_gives_what_the_batch_gives() -> None:
    """Mapped over the batch, scores are those of the whole batch, and draws differ between rows."""
    loc, scale = torch.randn(5, 3), torch.rand(5, 3) + 0.1
    value = torch.rand(5, 3)
    mapped = torch.func.vmap(lambda m, s, v: TanhNormal(m, s).log_prob(v))(loc, scale, value)
    torch.testing.assert_close(mapped, TanhNormal(loc, scale).log_prob(value))
    draw = torch.func.vmap(lambda m: TanhNormal(m, 1.0).rsample(), randomness="different")(torch.zeros(5, 3))
    assert len(set(draw.flatten().tolist())) == 15


def test_expansion_adds_batch_dimensions() -> None:
    """An expanded distribution has the batch shape asked for, the same bounds and the same event."""
    dist = TanhNormal(torch.zeros(3), 1.0, low=-2.0, high=2.0).expand((4, 2))
    assert (dist.batch_shape, dist.event_shape, dist.high) == ((4, 2), (3,), 2.0)


def test_support_holds_the_samples() -> None:
    """The declared support accepts samples and refuses values outside."""
    dist = TanhNormal(torch.zeros(4, 2), 1.0, low=-2.0, high=2.0)
    assert dist.support.check(dist.sample()).all()
    assert not dist.support.check(torch.full((4, 2), 3.0)).any()
