"""Running mean and variance that forget at a constant rate.

A few numbers at a time, on the CPU, are taken in through numpy views of the statistics: there the work of an operation
is nothing and its dispatch everything, which numpy does in a third of the time. The formulas are the same.
"""

from collections.abc import Callable
from typing import Any, Self, final

import numpy as np
import torch
from torch import Size, Tensor, nn

PRIOR_COUNT = 2.0**-200
"""Weight of the unit normal that stands for the data before there are any; vanishes beside the first frame."""

_SMALL = 32_768
"""Number of entries up to which numpy does the work of one call."""

_Views = tuple[int, Any, Any, Any]
"""Address of the mean, and `count`, `mean`, `m2` as arrays over the memory of the buffers."""


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
        self._views: _Views | None = None
        self._floor = np.array(eps)

    def scale(self) -> Tensor:
        """`sqrt(max(variance, eps))`, `[*F]`, float64."""
        return (self.m2 / self.count).clamp_min_(self._eps).sqrt_()

    @property
    def size(self) -> int:
        """How many numbers the statistics are."""
        return 1 + 2 * self.mean.numel()

    def split(self, numbers: Any) -> tuple[Any, Any, Any]:
        """Views of an array `[size]` in the shapes of `count`, `mean` and `m2`."""
        middle, shape = 1 + self.mean.numel(), self.mean.shape
        return numbers[:1].reshape(()), numbers[1:middle].reshape(shape), numbers[middle:].reshape(shape)

    def read_from(self, parts: tuple[Any, Any, Any]) -> None:
        """Take the statistics out of arrays in the shapes of `count`, `mean` and `m2`."""
        if self.mean.is_cpu:
            for mine, part in zip(self._arrays(), parts, strict=True):
                mine[...] = part
        else:
            for buffer, part in zip((self.count, self.mean, self.m2), parts, strict=True):
                buffer.copy_(torch.from_numpy(part.copy()))

    def write_to(self, parts: tuple[Any, Any, Any]) -> None:
        """Put the statistics into arrays in the shapes of `count`, `mean` and `m2`; waits for an accelerator."""
        own = self._arrays() if self.mean.is_cpu else [each.cpu().numpy() for each in (self.count, self.mean, self.m2)]
        for mine, part in zip(own, parts, strict=True):
            part[...] = mine

    def normalize(self, value: Tensor) -> Tensor:
        """`(value - mean) / scale`, in the dtype of `value`; `[*B, *F]`."""
        return ((value.to(self.mean.dtype) - self.mean) / self.scale()).to(value.dtype)

    def update_and_normalize(self, value: Tensor) -> Tensor:
        """Take in the rows of `value`, then normalise them with the new statistics.

        Args:
            value: `[*B, *F]` floating-point; not changed.
        Returns:
            `[*B, *F]`, of the dtype of `value`.
        """
        buffers: Any = self._buffers
        count, mean, m2 = buffers["count"], buffers["mean"], buffers["m2"]
        if self._is_small(value):
            return torch.from_numpy(self._update_small(value.numpy()))
        rows = value.detach().to(mean.dtype)
        before = rows - mean
        batch_dims = rows.ndim - mean.ndim
        if batch_dims:
            dims = tuple(range(batch_dims))
            count = _written(count, count * self._decay + rows.shape[:batch_dims].numel())
            mean = _written(mean, torch.addcdiv(mean, before.sum(dims), count))
            after = rows - mean
            m2 = _written(m2, m2 * self._decay + (before * after).sum(dims))
        else:
            count = _written(count, torch.add(buffers["one"], count, alpha=self._decay))
            mean = _written(mean, torch.addcdiv(mean, before, count))
            after = rows - mean
            m2 = _written(m2, torch.addcmul(m2 * self._decay, before, after))
        if value.requires_grad:
            after = value.to(mean.dtype) - mean
        result: Tensor = after / torch.div(m2, count).clamp_min_(self._eps).sqrt_()
        return result if result.dtype is value.dtype else result.to(value.dtype)

    def update_and_normalize_rows(self, value: Tensor, mask: Tensor) -> Tensor:
        """Take in the rows of `value` in `mask`, then normalise them; waits for no accelerator.

        Args:
            value: `[*B, *F]` floating-point, not changed; rows outside the mask may hold anything.
            mask: bool `[*B]`. With no row in it the statistics stay as they are.
        Returns:
            `[*B, *F]`, of the dtype of `value`; rows outside the mask are of no use.
        """
        if not self._is_small(value):
            self.update_rows(value, mask)
            return self.normalize(value)
        inside = mask.numpy()
        if inside.all():
            return torch.from_numpy(self._update_small(value.numpy()))
        result = value.numpy().copy()
        rows = result[inside]
        if len(rows):
            result[inside] = self._update_small(rows)
        return torch.from_numpy(result)

    def _is_small(self, value: Tensor) -> bool:
        """Whether numpy does the work on `value`."""
        buffers: Any = self._buffers
        is_plain = type(value) is Tensor and value.is_cpu and buffers["mean"].is_cpu and not value.requires_grad
        is_known = value.dtype is not torch.bfloat16  # numpy has none
        return is_plain and is_known and value.numel() <= _SMALL and not torch.compiler.is_compiling()

    def _update_small(self, rows: Any) -> Any:
        """What `update_and_normalize` does, on arrays."""
        count, mean, m2 = self._arrays()
        before = rows - mean
        batch_dims = before.ndim - mean.ndim
        if batch_dims:
            before = before.reshape(-1, *mean.shape)
            weight = float(count) * self._decay + len(before)
            mean += np.add.reduce(before) / weight
            after = rows - mean
            squares = np.add.reduce(before * after.reshape(before.shape))
        else:
            weight = float(count) * self._decay + 1.0
            mean += before / weight
            after = rows - mean
            squares = before * after
        count[...] = weight
        m2 *= self._decay
        m2 += squares
        result = np.asarray(after / np.sqrt(np.maximum(m2 / weight, self._floor)))
        return result if result.dtype == rows.dtype else result.astype(rows.dtype)

    def _arrays(self) -> tuple[Any, Any, Any]:
        """The statistics as arrays that share the memory of the buffers."""
        buffers: Any = self._buffers
        mean = buffers["mean"]
        address = mean.data_ptr()
        if self._views is None or self._views[0] != address:
            self._views = (address, buffers["count"].numpy(), mean.numpy(), buffers["m2"].numpy())
        return self._views[1:]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._views = None
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Without the arrays, which a copy would not share with its own buffers."""
        return {**self.__dict__, "_views": None}

    def update_rows(self, value: Tensor, mask: Tensor) -> None:
        """Take in the rows of `value` in `mask`, on any device without waiting for it.

        Args:
            value: `[*B, *F]` floating-point; rows outside the mask may hold anything.
            mask: bool `[*B]`. With no row in it nothing changes.
        """
        rows = value.detach().to(self.mean.dtype)
        inside = mask.reshape(mask.shape + (1,) * self.mean.ndim)
        number = mask.sum(dtype=torch.float64)
        decay = torch.where(number > 0, number.new_full((), self._decay), 1.0)
        dims = tuple(range(mask.ndim))
        before = torch.where(inside, rows - self.mean, 0.0)
        count = _written(self.count, self.count * decay + number)
        mean = _written(self.mean, torch.addcdiv(self.mean, before.sum(dims) if dims else before, count))
        squares = before * torch.where(inside, rows - mean, 0.0)
        _written(self.m2, self.m2 * decay + (squares.sum(dims) if dims else squares))


def _written(buffer: Tensor, value: Tensor) -> Tensor:
    """`value`, now in `buffer` too; through a view, as compiled graphs lose writes to a number on the CPU."""
    buffer.view(-1).copy_(value.reshape(-1))
    return value
