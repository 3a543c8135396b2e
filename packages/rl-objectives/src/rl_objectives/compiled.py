"""Losses compiled for small networks."""

from collections.abc import Callable
from typing import Any, Final

import torch
from tensordict import TensorDictBase

from rl_objectives.common import LossModule

_CPU_OPTIONS: Final[dict[str, Any]] = {
    # The sum over an action of up to 8 numbers, unrolled, would keep the logarithms around it from being vectorised.
    "unroll_reductions_threshold": 1,
    # Inductor's own normal numbers take several times longer, and are other ones than without compilation.
    "fallback_random": True,
}


def compile_loss(loss: LossModule) -> Callable[[TensorDictBase], TensorDictBase]:
    """`loss` compiled by inductor as one graph, forwards and backwards.

    On a CPU it takes the options that make minibatches of a few hundred rows fast there, and draws what `loss` itself
    would draw from torch's global generator. Losses and gradients are those of `loss` up to rounding. The first call
    compiles, which takes seconds and a C++ compiler; so does the first call on a batch of another size.

    Args:
        loss: the loss, which stays as it is; its parameters and coefficients are read at each call.
    Returns:
        A function from a minibatch to what `loss` writes.
    """
    is_on_cpu = all(parameter.device.type == "cpu" for parameter in loss.parameters())
    compiled: Callable[[TensorDictBase], TensorDictBase] = torch.compile(
        loss, fullgraph=True, options=_CPU_OPTIONS if is_on_cpu else None
    )
    return compiled
