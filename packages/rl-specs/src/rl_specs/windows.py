"""Returns over windows of steps: the mathematics of multi-step targets, of batches and of what is stored."""

import torch
from torch import Tensor


def window_lengths(is_last: Tensor, n_steps: int) -> Tensor:
    """Steps in the window that starts at each step: `n_steps`, or fewer where the trajectory ends before.

    Args:
        is_last: bool `[*B, T]`, whether a trajectory ends with the step; the data end one too.
        n_steps: length of a full window, at least 1.
    Returns:
        int64 `[*B, T]`, in `[1, n_steps]`.
    """
    count = is_last.shape[-1]
    positions = torch.arange(count, device=is_last.device)
    ends = torch.where(is_last, positions, count - 1).flip(-1).cummin(-1).values.flip(-1)
    return (ends - positions + 1).clamp_max(n_steps)


def window_returns(reward: Tensor, lengths: Tensor, gamma: float) -> Tensor:
    """Discounted sum of the rewards in each window.

        R_t = sum_{i=0}^{l_t - 1} gamma^i r_{t+i}

    Args:
        reward: `[*B, T, *F]`; integers are summed as floats of torch's default dtype.
        lengths: int64 `[*B, T]`, steps `l_t` of the window at each step; none reaches beyond the data.
        gamma: discount in [0, 1], per step.
    Returns:
        `[*B, T, *F]`, a new tensor.
    Source: Sutton and Barto 2018, eq. 7.1, http://incompleteideas.net/book/the-book-2nd.html
    """
    time, steps = lengths.ndim - 1, lengths.shape[-1]
    total = reward.clone() if reward.is_floating_point() else reward.to(torch.get_default_dtype())
    longest = min(int(lengths.max()), steps) if lengths.numel() else 1
    for offset in range(1, longest):
        later = reward.narrow(time, offset, steps - offset)
        inside = lengths.narrow(time, 0, steps - offset) > offset
        inside = inside.reshape(inside.shape + (1,) * (later.ndim - inside.ndim))
        total.narrow(time, 0, steps - offset).add_(torch.where(inside, later, 0), alpha=gamma**offset)
    return total
