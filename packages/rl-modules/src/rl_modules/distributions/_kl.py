"""Registration of closed-form divergences with `torch.distributions.kl_divergence`."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.kl import register_kl

_D = TypeVar("_D", bound=Distribution)


def closed_form_kl(family: Any) -> Callable[[Callable[[_D, _D], Tensor]], Callable[[_D, _D], Tensor]]:
    """Decorator of the function that computes `KL(p || q)` within one family of distributions."""

    def register(function: Callable[[_D, _D], Tensor]) -> Callable[[_D, _D], Tensor]:
        torch_decorator: Any = register_kl
        torch_decorator(family, family)(function)
        return function

    return register
