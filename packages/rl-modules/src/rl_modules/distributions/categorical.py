"""Distributions over a finite set of actions, as indices or as one-hot vectors."""

from typing import Any, final

from torch import Size, Tensor
from torch.distributions import constraints

from rl_modules.distributions._categorical import (
    FiniteDistribution,
    log_prob_of_index,
    log_prob_of_one_hot,
    normalised_logits,
    one_hot,
)


@final
class Categorical(FiniteDistribution):
    """Actions as int64 indices, without the argument validation of `torch.distributions.Categorical`.

    Args:
        logits: `[*B, n]`, unnormalised log-probabilities.
        probs: `[*B, n]`, non-negative weights, in place of `logits`.
    Raises:
        TypeError: both parameters are given.
        MissingKeyError: neither is given.
    """

    def __init__(self, logits: Tensor | None = None, probs: Tensor | None = None) -> None:
        super().__init__(normalised_logits("Categorical", logits, probs, None), is_one_hot=False)

    def expand(self, batch_shape: Any, _instance: None = None) -> "Categorical":
        """The same distribution with a larger batch shape."""
        return Categorical(self.logits.expand(Size((*batch_shape, self.num_actions))))

    @property
    def support(self) -> Any:
        """Integers from 0 to n - 1."""
        integers: Any = constraints.integer_interval
        return integers(0, self.num_actions - 1)

    @property
    def mode(self) -> Tensor:
        """The most likely action, int64 `[*B]`; the first of several."""
        return self.logits.argmax(-1)

    @property
    def deterministic_sample(self) -> Tensor:
        """The mode."""
        return self.logits.argmax(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """A draw, int64 `[*sample_shape, *B]`."""
        return self.draw_index(sample_shape).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of integer actions `[*S, *B]`, same shape."""
        return log_prob_of_index(self.logits, value)


@final
class OneHotCategorical(FiniteDistribution):
    """Actions as one-hot vectors.

    Args:
        logits: `[*B, n]`, unnormalised log-probabilities.
        probs: `[*B, n]`, non-negative weights, in place of `logits`.
    Raises:
        TypeError: both parameters are given.
        MissingKeyError: neither is given.
    """

    def __init__(self, logits: Tensor | None = None, probs: Tensor | None = None) -> None:
        super().__init__(normalised_logits("OneHotCategorical", logits, probs, None), is_one_hot=True)

    def expand(self, batch_shape: Any, _instance: None = None) -> "OneHotCategorical":
        """The same distribution with a larger batch shape."""
        return OneHotCategorical(self.logits.expand(Size((*batch_shape, self.num_actions))))

    @property
    def support(self) -> Any:
        """One-hot vectors."""
        return constraints.one_hot

    @property
    def mean(self) -> Tensor:
        """The probabilities, `[*B, n]`."""
        return self.probs

    @property
    def mode(self) -> Tensor:
        """The most likely action, int64 `[*B, n]`; the first of several."""
        return one_hot(self.logits.argmax(-1, keepdim=True), self.num_actions)

    @property
    def deterministic_sample(self) -> Tensor:
        """The mode."""
        return self.mode

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """A draw, int64 `[*sample_shape, *B, n]`."""
        return one_hot(self.draw_index(sample_shape), self.num_actions)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of one-hot actions `[*S, *B, n]` of any dtype: `[*S, *B]`."""
        return log_prob_of_one_hot(self.logits, value)
