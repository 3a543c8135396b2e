"""Distributions over a finite set of actions of which some are not allowed."""

from typing import Any, final

import torch
from torch import Size, Tensor
from torch.distributions import constraints

from rl_modules.distributions._categorical import (
    FiniteDistribution,
    log_prob_of_index,
    log_prob_of_one_hot,
    normalised_logits,
    one_hot,
)
from rl_modules.distributions._normal import absent_parameter
from rl_specs import ShapeError, message


@final
class MaskedCategorical(FiniteDistribution):
    """Actions as int64 indices; those with a False mask have probability zero and are never drawn.

    Probabilities are normalised, and the entropy taken, over the allowed actions.

    Args:
        logits: `[*B, n]`, unnormalised log-probabilities.
        probs: `[*B, n]`, non-negative weights, in place of `logits`.
        mask: `[*B, n]` bool, True where an action is allowed. Each row needs one such action: on the CPU a row without
            is an error, on an accelerator, where looking would wait for the device, its log-probabilities are NaN.
    Raises:
        ValueError: a row allows no action (CPU, not while compiling).
        ShapeError: the mask does not have the shape of the parameter.
        TypeError: both parameters are given.
        MissingKeyError: a parameter or the mask is missing.
    """

    def __init__(self, logits: Tensor | None = None, probs: Tensor | None = None, *, mask: Tensor) -> None:
        super().__init__(_masked_logits("MaskedCategorical", logits, probs, mask), is_one_hot=False)
        self.mask = mask

    def expand(self, batch_shape: Any, _instance: None = None) -> "MaskedCategorical":
        """The same distribution with a larger batch shape."""
        shape = Size((*batch_shape, self.num_actions))
        return MaskedCategorical(self.logits.expand(shape), mask=self.mask.expand(shape))

    @property
    def support(self) -> Any:
        """Integers from 0 to n - 1."""
        integers: Any = constraints.integer_interval
        return integers(0, self.num_actions - 1)

    @property
    def mode(self) -> Tensor:
        """The most likely allowed action, int64 `[*B]`; the first of several."""
        return self.logits.argmax(-1)

    @property
    def deterministic_sample(self) -> Tensor:
        """The mode."""
        return self.logits.argmax(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """A draw, int64 `[*sample_shape, *B]`."""
        return self.draw_index(sample_shape).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of integer actions `[*S, *B]`, same shape; minus infinity where masked."""
        return log_prob_of_index(self.logits, value)


@final
class MaskedOneHotCategorical(FiniteDistribution):
    """Actions as one-hot vectors; otherwise as `MaskedCategorical`, whose arguments and errors it has."""

    def __init__(self, logits: Tensor | None = None, probs: Tensor | None = None, *, mask: Tensor) -> None:
        super().__init__(_masked_logits("MaskedOneHotCategorical", logits, probs, mask), is_one_hot=True)
        self.mask = mask

    def expand(self, batch_shape: Any, _instance: None = None) -> "MaskedOneHotCategorical":
        """The same distribution with a larger batch shape."""
        shape = Size((*batch_shape, self.num_actions))
        return MaskedOneHotCategorical(self.logits.expand(shape), mask=self.mask.expand(shape))

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
        """The most likely allowed action, int64 `[*B, n]`; the first of several."""
        return one_hot(self.logits.argmax(-1, keepdim=True), self.num_actions)

    @property
    def deterministic_sample(self) -> Tensor:
        """The mode."""
        return self.mode

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """A draw, int64 `[*sample_shape, *B, n]`."""
        return one_hot(self.draw_index(sample_shape), self.num_actions)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of one-hot actions `[*S, *B, n]`: `[*S, *B]`; minus infinity where masked."""
        return log_prob_of_one_hot(self.logits, value)


def _masked_logits(component: str, logits: Tensor | None, probs: Tensor | None, mask: Tensor) -> Tensor:
    if mask is None:
        raise absent_parameter(component, "mask")
    parameter = probs if logits is None else logits
    if parameter is not None and parameter.shape != mask.shape:
        raise ShapeError(
            message(
                component,
                "the mask does not have the shape of the logits",
                expected=list(parameter.shape),
                found=list(mask.shape),
            )
        )
    mask = mask.to(torch.bool)
    if mask.device.type == "cpu" and not torch.compiler.is_compiling() and not bool(mask.any(-1).all()):
        is_stuck = ~mask.any(-1)
        raise ValueError(
            message(
                component,
                f"{int(is_stuck.sum())} of {is_stuck.numel()} rows of the mask allow no action",
                expected="at least one True in each row",
                fix="Let the environment allow an action in every state, terminal ones included",
            )
        )
    return normalised_logits(component, logits, probs, mask)
