"""Flattening of an image's features into one dimension."""

from typing import final

from torch import Tensor, nn


@final
class SquashDims(nn.Module):
    """The last dimensions made one: `[*B, C, H, W]` to `[*B, C * H * W]`.

    Args:
        ndims_in: number of dimensions that become one.
    """

    def __init__(self, ndims_in: int = 3) -> None:
        super().__init__()
        self.ndims_in = ndims_in

    def forward(self, value: Tensor) -> Tensor:
        """`value` with its last `ndims_in` dimensions flattened."""
        return value.flatten(-self.ndims_in)
