"""Running mean and variance of batches."""

from typing import final

import torch
from torch import Size, Tensor, nn

from rl_specs import ShapeError, message

_LOWEST_VARIANCE = 1e-8


@final
class RunningMeanStd(nn.Module):
    """Mean and variance of all rows of all batches given to `update`, each weighing the same.

    With `n` rows of mean `m` and variance `v` (of the population) in a batch, and `d = m - mean`:

        count' = count + n
        mean'  = mean + d * n / count'
        var'   = (count * var + n * v + d^2 * count * n / count') / count'

    Before any data, mean 0 and variance 1 with the weight `epsilon`. Statistics are float64 buffers, part of
    `state_dict`.

    Args:
        shape: shape `F` of one row.
        epsilon: weight of the start, in rows.
    Raises:
        ValueError: `epsilon` is not positive.
    Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances"
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...] = (), epsilon: float = 1e-4) -> None:
        super().__init__()
        if not epsilon > 0:
            raise ValueError(message("RunningMeanStd", "bad epsilon", expected="> 0", found=epsilon))
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("var", torch.ones(shape, dtype=torch.float64))
        self.register_buffer("count", torch.full((), epsilon, dtype=torch.float64))

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Take in rows.

        Args:
            x: `[*B, *F]`, of any dtype; with no row in it nothing changes.
        Raises:
            ShapeError: the shape does not end in that of a row.
        """
        rows = x.detach().to(self.mean.dtype).reshape(-1, *self._checked(x.shape))
        number = rows.shape[0]
        if number == 0:
            return
        variance, mean = torch.var_mean(rows, 0, correction=0)
        total = self.count + number
        shift = mean - self.mean
        spread = self.count * self.var + number * variance + shift.square() * (self.count * number / total)
        self.mean.add_(shift * (number / total))
        self.var.copy_(spread / total)
        self.count.copy_(total)

    def normalize(self, x: Tensor) -> Tensor:
        """`(x - mean) / sqrt(var)`, `[*B, *F]` of the dtype of `x` (of torch's default dtype for integers).

        Variances under 1e-8 are taken for that.

        Raises:
            ShapeError: the shape does not end in that of a row.
        """
        self._checked(x.shape)
        dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
        return ((x - self.mean) / self.var.clamp_min(_LOWEST_VARIANCE).sqrt()).to(dtype)

    def _checked(self, shape: Size) -> Size:
        row = self.mean.shape
        if shape[len(shape) - len(row) :] != row or len(shape) < len(row):
            expected = str(("*B", *row)).replace("'", "")
            raise ShapeError(message("RunningMeanStd", "rows of another shape", expected=expected, found=tuple(shape)))
        return row

    def extra_repr(self) -> str:
        """The shape of a row and the number of rows seen."""
        return f"shape={tuple(self.mean.shape)}, count={self.count.item():.4g}"
