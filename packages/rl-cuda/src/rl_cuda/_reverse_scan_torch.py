"""Linear recurrences backwards in time in plain torch, with the additions in the order of the kernels."""

import torch
from torch import Tensor

LANES = 32
_LONG, _MANY, _SEGMENT = 1024, 512, 512


def segment_steps(rows: int, steps: int) -> int:
    """Steps that one warp works through: a whole row, or part of one where rows are few and long."""
    is_cut = rows < _MANY and steps > _LONG
    return _SEGMENT if is_cut else -(-steps // LANES) * LANES


def recurrence_torch(coefficient: Tensor, offset: Tensor) -> Tensor:
    """Solve `x_t = coefficient_t * x_{t+1} + offset_t`; see `reverse_linear_recurrence`.

    Args:
        coefficient: `[rows, steps]`.
        offset: `[rows, steps]`.
    Returns:
        `[rows, steps]`.
    """
    rows, steps = offset.shape
    length = segment_steps(rows, steps)
    if steps <= length:
        return _apply(*_composed(coefficient, offset), offset.new_zeros(rows))[:, :steps]
    segments = -(-steps // length)
    a, b = _padded(coefficient, offset, segments * length)
    a, b = _composed(a.view(-1, length), b.view(-1, length))
    total_a, total_b = (total.view(rows, segments) for total in _totals(a, b))
    first = _apply(*_composed(total_a, total_b), offset.new_zeros(rows))[:, :segments]
    following = torch.cat((first[:, 1:], first.new_zeros(rows, 1)), 1)
    return _apply(a, b, following.view(-1)).view(rows, segments * length)[:, :steps]


def _padded(a: Tensor, b: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Identities after the last step, up to `steps`."""
    rows, missing = a.shape[0], steps - a.shape[1]
    return torch.cat((a, a.new_ones(rows, missing)), 1), torch.cat((b, b.new_zeros(rows, missing)), 1)


def _composed(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """`[rows, chunks, 32]`: in each place the map of its step and all later ones of its chunk of 32, by doubling."""
    chunks = -(-a.shape[1] // LANES)
    a, b = (x.view(x.shape[0], chunks, LANES) for x in _padded(a, b, chunks * LANES))
    offset = 1
    while offset < LANES:
        b = torch.cat((b[..., :-offset] + a[..., :-offset] * b[..., offset:], b[..., -offset:]), -1)
        a = torch.cat((a[..., :-offset] * a[..., offset:], a[..., -offset:]), -1)
        offset *= 2
    return a, b


def _apply(a: Tensor, b: Tensor, following: Tensor) -> Tensor:
    """`[rows, 32 * chunks]`: the solution, of which `following` `[rows]` is the value after the last chunk."""
    x = following.unsqueeze(-1)
    solution = []
    for chunk in reversed(range(a.shape[1])):
        solution.append(b[:, chunk] + a[:, chunk] * x)
        x = solution[-1][:, :1]
    return torch.cat(solution[::-1], 1)


def _totals(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """`[rows]` each: the map of all chunks together."""
    total_a, total_b = torch.ones_like(a[:, 0, 0]), torch.zeros_like(b[:, 0, 0])
    for chunk in reversed(range(a.shape[1])):
        first_a, first_b = a[:, chunk, 0], b[:, chunk, 0]
        total_a, total_b = first_a * total_a, first_b + first_a * total_b
    return total_a, total_b
