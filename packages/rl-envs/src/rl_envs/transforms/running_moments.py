"""Running mean and variance that forget at a constant rate."""

from typing import Any, final

import torch
from torch import Size, Tensor, nn

PRIOR_COUNT = 2.0**-200
"""Weight of the unit normal that stands for the data before there are any; vanishes beside the first frame."""


@final
class RunningMoments(nn.Module):
    """Count, mean and sum of squared deviations of the rows seen, in float64, weighted by age.

    After rows `x_1 .. x_N` of one call, with everything before weighted by `decay`:

        count' = decay * count + N
        mean'  = mean + sum(x_i - mean) / count'
        m2'    = decay * m2 + sum((x_i - mean) * (x_i - mean'))

    which equals the weighted moments of all rows, without the cancellation of a difference of sums of squares.
    With no data, mean 0 and variance 1.

    Args:
        shape: shape `F` of one row.
        decay: weight of the past at each call, in (0, 1].
        eps: lowest variance that `scale` returns the root of.
        device: where the statistics are.
    Source: West 1979, "Updating mean and variance estimates: an improved method", with exponential forgetting.
    """

    count: Tensor
    mean: Tensor
    m2: Tensor

    def __init__(self, shape: Size, *, decay: float, eps: float, device: torch.device | str | None = None) -> None:
        super().__init__()
        self._decay = decay
        self._eps = eps
        form: dict[str, Any] = {"dtype": torch.float64, "device": device}
        self.register_buffer("count", torch.full((), PRIOR_COUNT, **form))
        self.register_buffer("one", torch.ones((), **form), persistent=False)
        self.register_buffer("mean", torch.zeros(shape, **form))
        self.register_buffer("m2", torch.full(shape, PRIOR_COUNT, **form))

    def scale(self) -> Tensor:
        """`sqrt(max(variance, eps))`, `[*F]`, float64."""
        return (self.m2 / self.count).clamp_min_(self._eps).sqrt_()

    def normalize(self, value: Tensor) -> Tensor:
        """`(value - mean) / scale`, in the dtype of `value`; `[*B, *F]`."""
        return ((value - self.mean) / self.scale()).to(value.dtype)

    def update_and_normalize(self, value: Tensor) -> Tensor:
        """Take in the rows of `value`, then normalise them with the new statistics.

        Args:
            value: `[*B, *F]` floating-point; not changed.
        Returns:
            `[*B, *F]`, of the dtype of `value`.
        """
        buffers: Any = self._buffers
        count, mean, m2 = buffers["count"], buffers["mean"], buffers["m2"]
        rows = value.detach()
        before = rows - mean
        batch_dims = rows.ndim - mean.ndim
        if batch_dims:
            dims = tuple(range(batch_dims))
            count.mul_(self._decay).add_(rows.shape[:batch_dims].numel())
            mean.addcdiv_(before.sum(dims), count)
            after = rows - mean
            m2.mul_(self._decay).add_((before * after).sum(dims))
        else:
            torch.add(buffers["one"], count, alpha=self._decay, out=count)
            mean.addcdiv_(before, count)
            after = rows - mean
            m2.mul_(self._decay).addcmul_(before, after)
        if value.requires_grad:
            after = value - mean
        result: Tensor = after / torch.div(m2, count).clamp_min_(self._eps).sqrt_()
        return result if result.dtype is value.dtype else result.to(value.dtype)

    def update_rows(self, value: Tensor, mask: Tensor) -> None:
        """Take in the rows of `value` in `mask`, on any device without waiting for it.

        Args:
            value: `[*B, *F]` floating-point; rows outside the mask may hold anything.
            mask: bool `[*B]`. With no row in it nothing changes.
        """
        rows = value.detach()
        inside = mask.reshape(mask.shape + (1,) * self.mean.ndim)
        number = mask.sum(dtype=torch.float64)
        decay = torch.where(number > 0, self._decay, 1.0)
        dims = tuple(range(mask.ndim))
        before = torch.where(inside, rows - self.mean, 0.0)
        self.count.mul_(decay).add_(number)
        self.mean.addcdiv_(before.sum(dims) if dims else before, self.count)
        squares = before * torch.where(inside, rows - self.mean, 0.0)
        self.m2.mul_(decay).add_(squares.sum(dims) if dims else squares)
