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
    """Indices drawn with probabilities `[*B, n]`, int64 `[*sample_shape, *B]`.

    The largest of `p / e` with `e` exponential is at index i with probability p_i, and never where p is zero.
    """
    wanted = probs.expand((*sample_shape, *probs.shape)) if sample_shape else probs
    noise = torch.empty_like(wanted, memory_format=torch.contiguous_format).exponential_()
    # A draw of exactly zero would turn an impossible action into 0 / 0.
    return (probs / noise.clamp_min(torch.finfo(probs.dtype).tiny)).argmax(-1)


def one_hot(index: Tensor, n: int) -> Tensor:
    """`index` as int64 one-hot vectors `[*index.shape, n]`, without reading values back."""
    return (index.unsqueeze(-1) == torch.arange(n, device=index.device)).to(torch.int64)


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
