"""What the distributions over a finite set of actions share, and the functions they are made of."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from rl_modules.distributions._kl import closed_form_kl
from rl_modules.distributions._normal import absent_parameter
from rl_specs import message


def normalised_logits(component: str, logits: Tensor | None, probs: Tensor | None, mask: Tensor | None) -> Tensor:
    """Log-probabilities from whichever parameter is given; minus infinity where `mask` is False.

    Args:
        component: the distribution that they are for, for messages.
        logits: `[*B, n]`, unnormalised log-probabilities.
        probs: `[*B, n]`, non-negative weights, in place of `logits`.
        mask: `[*B, n]` bool, True where an action may be taken.
    Raises:
        TypeError: both parameters are given.
        MissingKeyError: none is given, or it is None.
    """
    if logits is None:
        if probs is None:
            raise absent_parameter(component, "logits")
        logits = probs.log()
    elif probs is not None:
        raise TypeError(message(component, "both logits and probs are given", expected="one of them"))
    if mask is not None:
        logits = torch.where(mask, logits, -torch.inf)
    return torch.log_softmax(logits, -1)


def draw_index(probs: Tensor, sample_shape: Any) -> Tensor:
    """Indices drawn with probabilities `[*B, n]`, int64 `[*sample_shape, *B, 1]`.

    The largest of `p / e` with `e` exponential is at index i with probability p_i, and never where p is zero.
    """
    wanted = probs.expand((*sample_shape, *probs.shape)) if sample_shape else probs
    # log(uniform) is minus an exponential draw, and made faster. Zero, whose logarithm would make the quotients of
    # possible and impossible actions equal, is left out.
    noise = torch.rand_like(wanted).clamp_min_(torch.finfo(probs.dtype).tiny).log_()
    return (probs / noise).argmin(-1, keepdim=True)


def one_hot(index: Tensor, n: int) -> Tensor:
    """`index` `[*B, 1]` as int64 one-hot vectors `[*B, n]`, without reading values back."""
    return index.new_zeros((*index.shape[:-1], n)).scatter_(-1, index, 1)


def log_prob_of_index(log_probs: Tensor, index: Tensor) -> Tensor:
    """Entries of `log_probs` `[*B, n]` at `index` `[*S, *B]`."""
    if index.dtype is not torch.int64:
        index = index.to(torch.int64)
    return _entry(log_probs, index.unsqueeze(-1))


def log_prob_of_one_hot(log_probs: Tensor, value: Tensor) -> Tensor:
    """Entries of `log_probs` `[*B, n]` where the one-hot `value` `[*S, *B, n]` is set."""
    if value.dtype is torch.bool:
        value = value.to(torch.uint8)
    return _entry(log_probs, value.argmax(-1, keepdim=True))


def _entry(log_probs: Tensor, index: Tensor) -> Tensor:
    shape = (*index.shape[:-1], log_probs.shape[-1])
    if log_probs.shape != shape:
        log_probs = log_probs.expand(shape)
    return log_probs.gather(-1, index).squeeze(-1)


class FiniteDistribution(Distribution):
    """A distribution over `n` actions, from their log-probabilities. Abstract: subclasses say what a value looks like.

    Args:
        log_probs: `[*B, n]`, normalised; minus infinity for impossible actions.
        is_one_hot: whether a value is a one-hot vector rather than an index.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_enumerate_support = False
    _validate_args = False

    def __init__(self, log_probs: Tensor, *, is_one_hot: bool) -> None:
        shape = log_probs.shape
        self.logits = log_probs
        super().__init__(shape[:-1], shape[-1:] if is_one_hot else Size())

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of a value, `[*S, *B]`."""

    @property
    def num_actions(self) -> int:
        """Number of actions n."""
        return self.logits.shape[-1]

    @property
    def probs(self) -> Tensor:
        """Probabilities, `[*B, n]`."""
        return self.logits.exp()

    def draw_index(self, sample_shape: Any) -> Tensor:
        """Indices of a draw, int64 `[*sample_shape, *B, 1]`."""
        return draw_index(self.logits.detach().exp(), sample_shape)

    def entropy(self) -> Tensor:
        """`-sum p log p` over the possible actions, `[*B]`."""
        return -_weighted(self.probs, self.logits).sum(-1)


@closed_form_kl(FiniteDistribution)
def _kl_finite(p: FiniteDistribution, q: FiniteDistribution) -> Tensor:
    """`sum p (log p - log q)` over the actions possible under p; infinite where q excludes one of them."""
    return _weighted(p.probs, p.logits - q.logits).sum(-1)


def _weighted(probs: Tensor, values: Tensor) -> Tensor:
    """`probs * values` with 0 for impossible actions, in the gradient too."""
    is_possible = probs > 0
    return probs * torch.where(is_possible, values, 0.0)
