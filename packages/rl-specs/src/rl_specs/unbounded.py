"""Tensors of any values."""

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Generator, Size, Tensor

from rl_specs._leaf import LeafSpec, as_tensor, check_encoded, check_equal_but_shape
from rl_specs._shape_ops import ShapeOp, SizeLike, known, moved_size
from rl_specs._whole_numbers import to_whole
from rl_specs.spaces import ContinuousBox


@final
class Unbounded(LeafSpec):
    """Tensor whose elements can be anything its dtype holds, NaN and infinities included.

    Args:
        shape: shape of a value, default `(1,)`.
        device: default torch's default device.
        dtype: default torch's default dtype.
    """

    def __init__(
        self,
        shape: SizeLike | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            (1,) if shape is None else shape, device, torch.get_default_dtype() if dtype is None else dtype
        )

    @property
    def space(self) -> ContinuousBox:
        """The limits of the dtype: `space.low` and `space.high`."""
        low, high = _limits(self._dtype)
        return ContinuousBox(
            *(torch.tensor(x, dtype=self._dtype, device=self._device).expand(known(self._shape)) for x in (low, high))
        )

    def rand(self, shape: SizeLike = (), *, generator: Generator | None = None) -> Tensor:
        """Standard normal numbers, or integers uniform over the dtype (the highest int64 is left out)."""
        size = self._sample_size(shape)
        if not self._is_of_integers:
            return torch.randn(size, generator=generator, dtype=self._dtype, device=self._device)
        low, high = _limits(self._dtype)
        end = min(int(high), 2**63 - 2) + 1
        return torch.randint(int(low), end, size, generator=generator, device=self._device).to(self._dtype)

    def project(self, value: Tensor) -> Tensor:
        """`value` in the spec's dtype; integers are the nearest that it holds."""
        if value.dtype == self._dtype or not self._is_of_integers:
            return value.to(self._dtype)
        low, high = _limits(self._dtype)
        return to_whole(value).clamp(int(low), min(int(high), 2**63 - 1)).to(self._dtype)

    def encode(self, value: Any) -> Tensor:
        """`value` as a tensor of the spec's dtype on its device.

        Raises:
            ShapeError: the shape does not end in that of the spec.
        """
        return check_encoded(self, as_tensor(value, self._dtype, self._device))

    @property
    def _is_of_integers(self) -> bool:
        return not (self._dtype.is_floating_point or self._dtype.is_complex)

    def cardinality(self) -> int | float:
        """Number of values, infinite for floating-point dtypes."""
        if not self._is_of_integers or self.is_dynamic:
            return math.inf
        low, high = _limits(self._dtype)
        return math.prod([int(high) - int(low) + 1] * self.numel())

    def _valid(self, value: Tensor) -> Tensor:
        return torch.ones((), dtype=torch.bool, device=value.device)

    def _domain_str(self) -> str:
        return "any value"

    def _combine(self, others: Sequence["Unbounded"], op: ShapeOp) -> "Unbounded":
        check_equal_but_shape(self, list(others), is_domain_in_shape=True)
        shape = moved_size([self._shape, *(other.shape for other in others)], self._device, op)
        return Unbounded(shape, self._device, self._dtype)

    def _reshaped(self, shape: Size) -> "Unbounded":
        return Unbounded(shape, self._device, self._dtype)

    def _convert(self, device: torch.device | None, dtype: torch.dtype | None) -> "Unbounded":
        return Unbounded(self._shape, device or self._device, dtype or self._dtype)


def _limits(dtype: torch.dtype) -> tuple[float, float]:
    if dtype == torch.bool:
        return 0, 1
    if dtype.is_floating_point or dtype.is_complex:
        return -math.inf, math.inf
    info = torch.iinfo(dtype)
    return info.min, info.max
