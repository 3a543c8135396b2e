"""Linear recurrences over time: the one primitive under every estimator.

    x_t = a_t * x_{t+1} + b_t,  x_T = 0

All rows lie end to end in one flat sequence in which the last coefficient of each row is zero, so that rows of any
number and length are one contiguous one-dimensional problem. It is solved by doubling: after the k-th pass each
element has absorbed the 2^k elements that follow it, `b <- b + a * shift(b)`, `a <- a * shift(a)`, which takes
ceil(log2 T) passes of two operations and multiplies coefficients only, so rounding stays that of a pairwise sum.

Source: Blelloch 1990, Prefix sums and their applications, https://www.cs.cmu.edu/~guyb/papers/Ble93.pdf
"""

import torch
from torch import Tensor


def reverse_linear_recurrence(coefficient: Tensor, offset: Tensor, *, time_dim: int = -2) -> Tensor:
    """Solve `x_t = coefficient_t * x_{t+1} + offset_t` backwards in time, zero after the last step.

    Differentiable in both arguments, and works under `torch.compile(fullgraph=True)`.

    Args:
        coefficient: `[*B, T, *F]` float. That of the last step multiplies nothing and is ignored.
        offset: `[*B, T, *F]` float.
        time_dim: the dimension of size T.
    Returns:
        `[*B, T, *F]` solution, dtype and device of `offset`.
    """
    return scan_scratch(coefficient.clone(), offset.clone(), time_dim=time_dim)


def scan_scratch(coefficient: Tensor, offset: Tensor, *, time_dim: int) -> Tensor:
    """`reverse_linear_recurrence` that may overwrite its arguments, which nobody else holds."""
    steps = offset.shape[time_dim]
    last = offset.movedim(time_dim, -1)
    shape = last.shape
    flat_b = last.reshape(-1)
    needs_graph = torch.is_grad_enabled() and (coefficient.requires_grad or offset.requires_grad)
    if torch.compiler.is_compiling() or needs_graph:
        alive = torch.ones(steps, dtype=offset.dtype, device=offset.device)
        alive[-1] = 0
        flat_a = (coefficient.movedim(time_dim, -1) * alive).reshape(-1)
        solution = _double_functional(flat_a, flat_b, steps)
    else:
        coefficient.select(time_dim, -1).zero_()
        flat_a = coefficient.movedim(time_dim, -1).reshape(-1)
        solution = _double_in_buffers(flat_a, flat_b, steps)
    return solution.view(shape).movedim(-1, time_dim)


def _double_functional(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """The passes as new tensors, for autograd and compilation."""
    shift = 1
    while shift < steps:
        b = torch.cat([torch.addcmul(b[:-shift], a[:-shift], b[shift:]), b[-shift:]])
        if 2 * shift < steps:
            a = torch.cat([a[:-shift] * a[shift:], a[-shift:]])
        shift *= 2
    return b


def _double_in_buffers(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """The same passes between two pairs of buffers, of which `a` and `b` are the first."""
    n = b.numel()
    shift = 1
    into_a, into_b = torch.empty_like(a), torch.empty_like(b)
    while shift < steps:
        torch.addcmul(b[:-shift], a[:-shift], b[shift:], out=into_b[:-shift])
        into_b[n - shift :] = b[n - shift :]
        b, into_b = into_b, b
        if 2 * shift < steps:
            torch.mul(a[:-shift], a[shift:], out=into_a[:-shift])
            into_a[n - shift :] = a[n - shift :]
            a, into_a = into_a, a
        shift *= 2
    return b
