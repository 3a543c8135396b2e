"""Several categorical variables side by side."""

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Generator, Tensor

from rl_specs._discrete import check_integer_dtype, check_nvec, moved_shape, sized, to_indices
from rl_specs._leaf import LeafSpec, as_tensor, check_encoded, check_equal_but_shape
from rl_specs._one_hot_math import expand_index
from rl_specs._shape_ops import ShapeOp, SizeLike, as_size
from rl_specs.multi_one_hot import MultiOneHot
from rl_specs.spaces import MultiCategoricalBox


@final
class MultiCategorical(LeafSpec):
    """Tensor `[*batch, len(nvec)]` of integers, the i-th of the last dimension from 0 to `nvec[i] - 1`.

    Args:
        nvec: number of categories of each variable.
        shape: shape of a value, ending in `len(nvec)`; default `(len(nvec),)`.
        device: default torch's default device.
        dtype: an integer dtype.
    Raises:
        SpecError: `nvec` is empty or holds a number that is not positive.
        ShapeError: `shape` does not end in `len(nvec)`.
        DTypeError: the dtype cannot hold the categories as integers.
    """

    def __init__(
        self,
        nvec: Sequence[int] | Tensor,
        shape: SizeLike | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype = torch.int64,
    ) -> None:
        counts = check_nvec("MultiCategorical", nvec)
        super().__init__(sized("MultiCategorical", shape, len(counts)), device, dtype)
        check_integer_dtype("MultiCategorical", dtype, max(counts))
        self._space = MultiCategoricalBox(counts)
        self._counts = torch.tensor(counts, device=self._device)

    @property
    def space(self) -> MultiCategoricalBox:
        """The numbers of categories, `space.nvec`."""
        return self._space

    @property
    def nvec(self) -> tuple[int, ...]:
        """Number of categories of each variable."""
        return self._space.nvec

    def rand(self, shape: SizeLike = (), *, generator: Generator | None = None) -> Tensor:
        """Categories drawn uniformly, of shape `[*shape, *self.shape]`."""
        size = (*as_size(shape), *self._shape[:-1])
        draws = [torch.randint(0, n, size, generator=generator, device=self._device) for n in self.nvec]
        return torch.stack(draws, -1).to(self._dtype)

    def project(self, value: Tensor) -> Tensor:
        """`value` rounded and clamped to the categories, in the spec's dtype."""
        index = to_indices(value).clamp_min(0)
        return torch.minimum(index, self._counts - 1).to(self._dtype)

    def encode(self, value: Any) -> Tensor:
        """Category numbers as a tensor of the spec's dtype on its device; the range is not checked.

        Raises:
            ShapeError: the shape does not end in that of the spec.
        """
        return check_encoded(self, as_tensor(value, self._dtype, self._device))

    def cardinality(self) -> int:
        """Number of combinations of categories."""
        return math.prod(self.nvec)

    def to_one_hot(self, value: Tensor) -> Tensor:
        """`value` `[*B, len(nvec)]` as bool `[*B, sum(nvec)]`."""
        index = to_indices(value)
        return torch.cat([expand_index(index[..., i], n) for i, n in enumerate(self.nvec)], -1)

    def to_one_hot_spec(self) -> MultiOneHot:
        """The spec of `to_one_hot(value)`."""
        return MultiOneHot(self.nvec, (*self._shape[:-1], sum(self.nvec)), self._device)

    def _valid(self, value: Tensor) -> Tensor:
        index = to_indices(value)
        return (index >= 0) & (index < self._counts)

    def _domain_str(self) -> str:
        return f"nvec={list(self.nvec)}"

    def _combine(self, others: Sequence["MultiCategorical"], op: ShapeOp) -> "MultiCategorical":
        check_equal_but_shape(self, list(others))
        return MultiCategorical(self.nvec, moved_shape([self, *others], op), self._device, self._dtype)

    def _convert(self, device: torch.device | None, dtype: torch.dtype | None) -> "MultiCategorical":
        return MultiCategorical(self.nvec, self._shape, device or self._device, dtype or self._dtype)
