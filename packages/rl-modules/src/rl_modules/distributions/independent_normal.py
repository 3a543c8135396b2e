"""A Gaussian with independent entries: the usual policy for unbounded continuous actions."""

from typing import Any, ClassVar, final

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from rl_modules.distributions._kl import closed_form_kl
from rl_modules.distributions._normal import (
    HALF_LOG_TWO_PI,
    PARAMETER_CONSTRAINTS,
    constant_like,
    event_dim_count,
    gaussian_kl,
    gaussian_parameters,
    negative_log_density,
    sum_rightmost,
)


@final
class IndependentNormal(Distribution):
    """`Normal(loc, scale)` whose trailing dimensions make one event.

    Building one costs a few microseconds: nothing is validated and nothing is read back from the device.

    Args:
        loc: `[*B, *E]` float.
        scale: positive, a float or a tensor that broadcasts against `loc`.
        upscale: with `tanh_loc`, the location becomes `upscale * tanh(loc / upscale)`.
        tanh_loc: whether to squash the location as described under `upscale`.
        event_dim: number of trailing dimensions that make one event, over which `log_prob` and `entropy` sum.
    Raises:
        ShapeError: `loc` and `scale` do not broadcast, or `loc` has fewer than `event_dim` dimensions.
        MissingKeyError: `loc` or `scale` is None.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = PARAMETER_CONSTRAINTS
    has_rsample = True
    _validate_args = False

    loc: Tensor
    scale: Tensor

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor | float,
        *,
        upscale: Tensor | float = 5.0,
        tanh_loc: bool = False,
        event_dim: int = 1,
    ) -> None:
        loc, scale = gaussian_parameters("IndependentNormal", loc, scale, upscale=upscale, is_squashed=tanh_loc)
        self.loc = loc
        self.scale = scale
        self._n_event_dims = event_dim_count("IndependentNormal", loc, event_dim)
        shape = loc.shape
        split = len(shape) - self._n_event_dims
        super().__init__(shape[:split], shape[split:])

    def expand(self, batch_shape: Any, _instance: None = None) -> "IndependentNormal":
        """The same distribution with a larger batch shape."""
        shape = Size((*batch_shape, *self.event_shape))
        return IndependentNormal(self.loc.expand(shape), self.scale.expand(shape), event_dim=self._n_event_dims)

    @property
    def support(self) -> Any:
        """The real numbers, per entry of an event."""
        independent: Any = constraints.independent
        return independent(constraints.real, self._n_event_dims)

    @property
    def mean(self) -> Tensor:
        """The location, `[*B, *E]`."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """The location, `[*B, *E]`."""
        return self.loc

    @property
    def median(self) -> Tensor:
        """The location, `[*B, *E]`."""
        return self.loc

    @property
    def deterministic_sample(self) -> Tensor:
        """The location, `[*B, *E]`: the action of a policy that does not explore."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Square of the scale, `[*B, *E]`."""
        return self.scale.square()

    def entropy(self) -> Tensor:
        """`log(scale) + log(2 pi e) / 2`, summed over the event: `[*B]`."""
        total = sum_rightmost(self.scale.log(), self._n_event_dims)
        return total + constant_like(total, (0.5 + HALF_LOG_TWO_PI) * self._event_shape.numel())

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """A draw without gradient, `[*sample_shape, *B, *E]`."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """A draw through which gradients reach `loc` and `scale`, `[*sample_shape, *B, *E]`."""
        loc = self.loc
        if sample_shape:
            noise = torch.randn((*sample_shape, *loc.shape), dtype=loc.dtype, device=loc.device)
        else:
            noise = torch.randn_like(loc)
        return torch.addcmul(loc, self.scale, noise)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of `value`, `[*S, *B, *E]`, summed over the event: `[*S, *B]`."""
        density = negative_log_density((value - self.loc) / self.scale, self.scale)
        total = sum_rightmost(density, self._n_event_dims)
        return constant_like(total, -HALF_LOG_TWO_PI * self._event_shape.numel()) - total


@closed_form_kl(IndependentNormal)
def _kl_independent_normal(p: IndependentNormal, q: IndependentNormal) -> Tensor:
    return sum_rightmost(gaussian_kl(p.loc, p.scale, q.loc, q.scale), p._n_event_dims)
