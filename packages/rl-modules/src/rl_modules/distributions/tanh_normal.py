"""A Gaussian squashed by tanh and scaled into an interval: the usual policy for bounded continuous actions."""

import math
from typing import Any, ClassVar, Final, final

import numpy as np
import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from rl_modules._arrays import as_small_arrays
from rl_modules.distributions._interval import Bound, between, checked_bounds, half_log_slope, squash, unsquash
from rl_modules.distributions._kl import closed_form_kl
from rl_modules.distributions._normal import (
    HALF_LOG_TWO_PI,
    PARAMETER_CONSTRAINTS,
    constant_like,
    event_dim_count,
    gaussian_kl,
    gaussian_nodes,
    gaussian_parameters,
    negative_log_density,
    sum_rightmost,
)
from rl_specs import message

_CONSTANT_PER_ENTRY: Final = HALF_LOG_TWO_PI + math.log(2.0)


@final
class TanhNormal(Distribution):
    """Distribution of `low + (high - low) * (1 + tanh(u)) / 2` with `u ~ Normal(loc, scale)`.

    Samples lie in `[low, high]`, bounds included, in their own dtype. The last tensor that `sample` or `rsample`
    returned is remembered with its pre-image `u`, so that `log_prob` of that very tensor is exact even where tanh has
    saturated. Any other value is mapped back; there a value at or beyond a bound counts as lying a fraction of a
    rounding step inside it, which keeps density and gradients finite. Building one costs a few microseconds: nothing
    is validated and nothing is read back from the device.

    Args:
        loc: `[*B, *E]` float, location of `u`.
        scale: positive, a float or a tensor that broadcasts against `loc`.
        upscale: with `tanh_loc`, the location becomes `upscale * tanh(loc / upscale)`.
        low: lower bound of the values, a float or a tensor that broadcasts against `loc`; -1 by default.
        high: upper bound, likewise; 1 by default.
        event_dims: number of trailing dimensions that make one event, over which `log_prob` sums; by default 1
            (0 for a `loc` without dimensions).
        tanh_loc: whether to squash the location as described under `upscale`.
        min: other spelling of `low`.
        max: other spelling of `high`.
    Raises:
        TypeError: a bound is given in both spellings.
        ValueError: `low` is not below `high` (floats only: bounds in tensors are not read).
        ShapeError: `loc` and `scale` do not broadcast, or `loc` has fewer than `event_dims` dimensions.
        MissingKeyError: `loc` or `scale` is None.
    Source: Haarnoja et al. 2018, appendix C, https://arxiv.org/abs/1801.01290
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = PARAMETER_CONSTRAINTS
    has_rsample = True
    _validate_args = False

    loc: Tensor
    scale: Tensor
    low: Bound
    high: Bound

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor | float,
        *,
        upscale: Tensor | float = 5.0,
        low: Bound | None = None,
        high: Bound | None = None,
        event_dims: int | None = None,
        tanh_loc: bool = False,
        min: Bound | None = None,
        max: Bound | None = None,
    ) -> None:
        loc, scale = gaussian_parameters("TanhNormal", loc, scale, upscale=upscale, is_squashed=tanh_loc)
        low = _one_spelling("low", low, "min", min, default=-1.0)
        high = _one_spelling("high", high, "max", max, default=1.0)
        self.loc = loc
        self.scale = scale
        self.low, self.high = checked_bounds("TanhNormal", low, high, loc)
        self._n_event_dims = event_dim_count("TanhNormal", loc, event_dims)
        shape = loc.shape
        split = len(shape) - self._n_event_dims
        super().__init__(shape[:split], shape[split:])
        self._is_symmetric = not isinstance(self.low, Tensor) and self.low == -self.high
        self._sample: Tensor | None = None
        self._small: tuple[Any, Any, Any] | None = None

    def expand(self, batch_shape: Any, _instance: None = None) -> "TanhNormal":
        """The same distribution with a larger batch shape; the remembered sample is not carried over."""
        shape = Size((*batch_shape, *self.event_shape))
        loc, scale = self.loc.expand(shape), self.scale.expand(shape)
        return TanhNormal(loc, scale, low=self.low, high=self.high, event_dims=self._n_event_dims)

    @property
    def support(self) -> Any:
        """Interval between the bounds, per entry of an event."""
        interval: Any = constraints.interval
        independent: Any = constraints.independent
        return independent(interval(self.low, self.high), self._n_event_dims)

    @property
    def deterministic_sample(self) -> Tensor:
        """Image of the location, `[*B, *E]`: the action of a policy that does not explore."""
        return squash(self.loc, self.low, self.high)

    @property
    def mode(self) -> Tensor:
        """Image of the mode of the Gaussian, `[*B, *E]`.

        The density itself, whose Jacobian grows towards the bounds, may peak elsewhere.
        """
        return squash(self.loc, self.low, self.high)

    @property
    def median(self) -> Tensor:
        """Median of each entry, `[*B, *E]`; exact because the squashing is increasing."""
        return squash(self.loc, self.low, self.high)

    @property
    def mean(self) -> Tensor:
        """Expected value of each entry, `[*B, *E]`, by quadrature: no randomness, differentiable.

        The error is near float32 rounding for scales up to 10.
        """
        nodes, weights = gaussian_nodes(self.loc)
        fraction = torch.sigmoid(2.0 * (self.loc + self.scale * nodes))
        return between((weights * fraction).sum(0), self.low, self.high)

    @property
    def variance(self) -> Tensor:
        """Variance of each entry, `[*B, *E]`, by the quadrature of `mean`."""
        nodes, weights = gaussian_nodes(self.loc)
        fraction = torch.sigmoid(2.0 * (self.loc + self.scale * nodes))
        centred = fraction - (weights * fraction).sum(0)
        return (weights * centred.square()).sum(0) * (self.high - self.low) ** 2

    def entropy(self) -> Tensor:
        """No closed form exists.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "TanhNormal: entropy has no closed form. "
            "Estimate it from samples: -dist.log_prob(dist.rsample((n,))).mean(0)."
        )

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """A draw without gradient, `[*sample_shape, *B, *E]`."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """A draw through which gradients reach `loc` and `scale`, `[*sample_shape, *B, *E]`.

        The tensor is remembered for `log_prob` until the next draw or until it is changed in place.
        """
        arrays = None if sample_shape or not self._is_symmetric else as_small_arrays(self.loc, self.scale)
        if arrays is None:
            self._small = None
            self._pre_image, self._noise = self._draw(sample_shape)
            sample = squash(self._pre_image, self.low, self.high)
        else:
            sample = self._draw_small(*arrays)
        self._sample = sample
        self._sample_version = _version(sample)
        self._is_pathwise = torch.is_grad_enabled()
        return sample

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of `value`, summed over the event: `[*S, *B]`.

        Args:
            value: `[*S, *B, *E]`, in `[low, high]`. The tensor drawn last is recognised by identity; another one, a
                copy included, is mapped back through the inverse of the squashing.
        """
        if value is self._sample and _version(value) == self._sample_version:
            if self._small is not None and not torch.is_grad_enabled():
                return self._log_prob_small(*self._small)
            pre_image, deviation = self._pre_image, self._remembered_deviation()
        else:
            pre_image = unsquash(value, self.low, self.high)
            deviation = (pre_image - self.loc) / self.scale
        total = self._negative_log_density(pre_image, deviation)
        return constant_like(total, -self._constant) - total

    def sampled_entropy(self, samples: int = 1) -> Tensor:
        """`-log_prob` averaged over draws: an unbiased estimate of the entropy, `[*B]`.

        The gradient is that of `-log_prob(rsample((samples,))).mean(0)`, which has the same draws. They are never
        squashed, which makes this the cheaper form.

        Args:
            samples: number of draws.
        """
        total = self._negative_log_density(*self._draw((samples,) if samples > 1 else ()))
        entropy = total + constant_like(total, self._constant)
        return entropy.mean(0) if samples > 1 else entropy

    @property
    def _constant(self) -> float:
        """What `_negative_log_density` leaves out."""
        per_entry = _CONSTANT_PER_ENTRY
        if not isinstance(self.low, Tensor) and not isinstance(self.high, Tensor):
            per_entry += math.log(self.high - self.low)
        return per_entry * self._event_shape.numel()

    def _draw(self, sample_shape: Any) -> tuple[Tensor, Tensor]:
        """A draw before squashing, and its noise."""
        loc = self.loc
        if sample_shape:
            noise = torch.randn((*sample_shape, *loc.shape), dtype=loc.dtype, device=loc.device)
        else:
            noise = torch.randn_like(loc)
        return torch.addcmul(loc, self.scale, noise), noise

    def _draw_small(self, loc: Any, scale: Any) -> Tensor:
        """What `_draw` and `squash` do, on arrays."""
        self._noise = torch.randn_like(self.loc)
        noise = self._noise.numpy()
        pre_image = scale * noise
        pre_image += loc
        sample = np.tanh(pre_image)
        if self.high != 1.0:
            sample *= self.high
        self._pre_image = torch.from_numpy(pre_image)
        self._small = scale, pre_image, noise
        return torch.from_numpy(sample)

    def _log_prob_small(self, scale: Any, pre_image: Any, noise: Any) -> Tensor:
        """`log_prob` of the remembered sample, on arrays."""
        density = noise * noise
        density *= 0.5
        density += np.log(scale)
        slope = np.logaddexp(pre_image, -pre_image)  # log(2 cosh(u)), finite everywhere
        slope += slope
        slope -= density
        dims = self._n_event_dims
        total = slope if dims == 0 else np.add.reduce(slope, -1 if dims == 1 else tuple(range(-dims, 0)))
        total = np.asarray(total)
        total -= self._constant
        return torch.from_numpy(total)

    def _negative_log_density(self, pre_image: Tensor, deviation: Tensor) -> Tensor:
        """Minus the log-density at the image of `pre_image`, summed over the event, without its constant."""
        density = negative_log_density(deviation, self.scale)
        density = torch.add(density, half_log_slope(pre_image), alpha=2)
        width = self.high - self.low
        if isinstance(width, Tensor):
            density = density + width.log()
        return sum_rightmost(density, self._n_event_dims)

    def _remembered_deviation(self) -> Tensor:
        """`(u - loc) / scale` of the remembered sample.

        The noise is that, and has its gradient (none) along a pathwise draw. A draw made without gradients is a
        constant instead, and its deviation then depends on the parameters.
        """
        if self._is_pathwise or not torch.is_grad_enabled():
            return self._noise
        return (self._pre_image - self.loc) / self.scale


@closed_form_kl(TanhNormal)
def _kl_tanh_normal(p: TanhNormal, q: TanhNormal) -> Tensor:
    """Divergence of the Gaussians before squashing, which the squashing, a bijection, leaves as it is."""
    if not (_is_same_bound(p.low, q.low) and _is_same_bound(p.high, q.high)):
        raise NotImplementedError(
            message(
                "kl_divergence(TanhNormal, TanhNormal)",
                "the bounds differ, so neither distribution covers the other",
                expected=f"low={p.low}, high={p.high}",
                found=f"low={q.low}, high={q.high}",
            )
        )
    return sum_rightmost(gaussian_kl(p.loc, p.scale, q.loc, q.scale), p._n_event_dims)


def _is_same_bound(a: Bound, b: Bound) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a is b or torch.equal(a, b)
    return not isinstance(a, Tensor) and not isinstance(b, Tensor) and a == b


def _one_spelling(name: str, value: Bound | None, other_name: str, other: Bound | None, *, default: float) -> Bound:
    if value is None:
        return default if other is None else other
    if other is not None:
        raise TypeError(
            message(
                "TanhNormal",
                f'"{name}" and "{other_name}" are two spellings of one bound, and both are given',
                fix=f'Drop "{other_name}"',
            )
        )
    return value


def _version(tensor: Tensor) -> int:
    """Counter of in-place changes; inference tensors have none, and the compiler does not see it."""
    return 0 if torch.compiler.is_compiling() or tensor.is_inference() else tensor._version
