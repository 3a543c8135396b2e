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

_BLOCK = 1 << 20
"""Elements solved at a time, in whole rows, which bounds the scratch."""

_RESERVE_BYTES = 28 << 20
"""Asked for, though not touched, by a big problem on a CPU. How much memory the C library keeps for the
next call, not to fault it in again, goes by the largest allocation below 32 MiB that was freed."""


def reverse_linear_recurrence(coefficient: Tensor, offset: Tensor, *, time_dim: int = -2) -> Tensor:
    """Solve `x_t = coefficient_t * x_{t+1} + offset_t` backwards in time, zero after the last step.

    Differentiable in both arguments, and works under `torch.compile(fullgraph=True)`. Products of coefficients over
    up to T following steps are formed: those that vanish do no harm, but they must not overflow.

    Args:
        coefficient: `[*B, T, *F]` float. That of the last step multiplies nothing and is ignored.
        offset: `[*B, T, *F]` float.
        time_dim: the dimension of size T.
    Returns:
        `[*B, T, *F]` solution, dtype and device of `offset`.
    """
    return scan_scratch(coefficient.clone(), offset.clone(), time_dim=time_dim)


def scan_scratch(coefficient: Tensor, offset: Tensor, *, time_dim: int) -> Tensor:
    """`reverse_linear_recurrence` that may overwrite `offset`, and zeroes the last coefficients."""
    steps = offset.shape[time_dim]
    last = offset.movedim(time_dim, -1)
    shape = last.shape
    flat_b = last.reshape(-1)
    needs_graph = torch.is_grad_enabled() and (coefficient.requires_grad or offset.requires_grad)
    if torch.compiler.is_compiling() or needs_graph:
        alive = torch.ones(steps, dtype=offset.dtype, device=offset.device)
        alive[-1:].zero_()
        flat_a = (coefficient.movedim(time_dim, -1) * alive).reshape(-1)
        flat_b = _double_functional(flat_a, flat_b, steps)
    else:
        coefficient.select(time_dim, -1).zero_()
        _double_in_place(coefficient.movedim(time_dim, -1).reshape(-1), flat_b, steps)
    return flat_b.view(shape).movedim(-1, time_dim)


def _double_functional(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """The passes as new tensors, for autograd and compilation."""
    shift = 1
    while shift < steps:
        b = torch.cat([torch.addcmul(b[:-shift], a[:-shift], b[shift:]), b[-shift:]])
        if 2 * shift < steps:
            a = torch.cat([a[:-shift] * a[shift:], a[-shift:]])
        shift *= 2
    return b


def _double_in_place(a: Tensor, b: Tensor, steps: int) -> None:
    """The same passes between two pairs of buffers; the solution replaces `b`.

    The buffers are one allocation: freed as a whole it is kept by the allocator, where several are given back to the
    system and cost a page fault each 4 KiB in the next call.
    """
    if steps == 1:
        return
    size = min(b.numel(), max(1, _BLOCK // steps) * steps)
    room = 4 * (size + steps)
    is_big = size > 1 << 17 and b.device.type == "cpu"
    reserve = _RESERVE_BYTES // b.element_size() if is_big else 0
    scratch = b.new_empty(max(room, reserve))[:room].view(4, -1)
    for start in range(0, b.numel(), size):
        block = b[start : start + size]
        _double_block(a[start : start + size], block, steps, scratch[:, : block.numel() + steps])


def _double_block(a: Tensor, b: Tensor, steps: int, scratch: Tensor) -> None:
    """One block. Each row of `scratch` ends with `steps` zeros, which stand for what follows: nothing."""
    n = b.numel()
    scratch[:, n:].zero_()
    from_a, from_b, into_a, into_b = scratch.unbind(0)
    now_a, now_b, next_a, next_b = scratch[:, :n].unbind(0)
    now_a.copy_(a)
    now_b.copy_(b)
    shift = 1
    while 2 * shift < steps:
        torch.addcmul(now_b, now_a, from_b[shift : shift + n], out=next_b)
        torch.mul(now_a, from_a[shift : shift + n], out=next_a)
        from_a, from_b, into_a, into_b = into_a, into_b, from_a, from_b
        now_a, now_b, next_a, next_b = next_a, next_b, now_a, now_b
        shift *= 2
    torch.addcmul(now_b, now_a, from_b[shift : shift + n], out=b)
