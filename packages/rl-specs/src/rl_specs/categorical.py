"""Integer tensors of category numbers."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Generator, Tensor

from rl_specs._discrete import check_count, check_integer_dtype, to_indices
from rl_specs._leaf import LeafSpec, as_tensor, check_encoded, check_equal_but_shape
from rl_specs._one_hot_math import expand_index
from rl_specs._shape_ops import ShapeOp, SizeLike, as_size, dummy
from rl_specs.one_hot import OneHot
from rl_specs.spaces import CategoricalBox


@final
class Categorical(LeafSpec):
    """Tensor of integers from 0 to `n - 1`.

    Args:
        n: number of categories.
        shape: shape of a value, default `()`.
        device: default torch's default device.
        dtype: an integer dtype, or bool for `n <= 2`.
    Raises:
        SpecError: `n` is not positive.
        DTypeError: the dtype cannot hold `n` categories as integers.
    """

    def __init__(
        self,
        n: int,
        shape: SizeLike | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype = torch.int64,
    ) -> None:
        super().__init__(() if shape is None else shape, device, dtype)
        self._space = CategoricalBox(check_count("Categorical", n))
        check_integer_dtype("Categorical", dtype, n)

    @property
    def space(self) -> CategoricalBox:
        """The number of categories, `space.n`."""
        return self._space

    @property
    def n(self) -> int:
        """Number of categories."""
        return self._space.n

    def rand(self, shape: SizeLike = (), *, generator: Generator | None = None) -> Tensor:
        """Categories drawn uniformly, of shape `[*shape, *self.shape]`."""
        size = as_size(shape) + self._shape
        return torch.randint(0, self.n, size, generator=generator, device=self._device).to(self._dtype)

    def project(self, value: Tensor) -> Tensor:
        """`value` rounded and clamped to the categories, in the spec's dtype."""
        return to_indices(value).clamp(0, self.n - 1).to(self._dtype)

    def encode(self, value: Any) -> Tensor:
        """Category numbers as a tensor of the spec's dtype on its device; the range is not checked.

        Raises:
            ShapeError: the shape does not end in that of the spec.
        """
        return check_encoded(self, as_tensor(value, self._dtype, self._device))

    def cardinality(self) -> int:
        """Number of categories."""
        return self.n

    def to_one_hot(self, value: Tensor) -> Tensor:
        """`value` `[*B, *shape]` as bool `[*B, *shape, n]`."""
        return expand_index(to_indices(value), self.n)

    def to_one_hot_spec(self) -> OneHot:
        """The spec of `to_one_hot(value)`."""
        return OneHot(self.n, (*self._shape, self.n), self._device)

    def _valid(self, value: Tensor) -> Tensor:
        index = to_indices(value)
        return (index >= 0) & (index < self.n)

    def _domain_str(self) -> str:
        return f"n={self.n}"

    def _combine(self, others: Sequence["Categorical"], op: ShapeOp) -> "Categorical":
        check_equal_but_shape(self, list(others))
        shape = op([dummy(spec.shape, self._device) for spec in (self, *others)]).shape
        return Categorical(self.n, shape, self._device, self._dtype)

    def _convert(self, device: torch.device | None, dtype: torch.dtype | None) -> "Categorical":
        return Categorical(self.n, self._shape, device or self._device, dtype or self._dtype)
