"""Tensors of zeros and ones."""

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Generator, Size, Tensor

from rl_specs._discrete import check_count, sized
from rl_specs._leaf import LeafSpec, as_tensor, check_encoded, check_equal_but_shape
from rl_specs._listing import check_listable
from rl_specs._shape_ops import ShapeOp, SizeLike, as_size, moved_size
from rl_specs.errors import SpecError, message
from rl_specs.spaces import BinaryBox


@final
class Binary(LeafSpec):
    """Tensor whose elements are 0 or 1, each on its own.

    Args:
        n: size of the last dimension; default the last of `shape`.
        shape: shape of a value, ending in `n` where both are given; default `(n,)`.
        device: default torch's default device.
        dtype: dtype of the zeros and ones.
    Raises:
        SpecError: neither `n` nor `shape` is given, or `n` is not positive.
        ShapeError: `shape` does not end in `n`.
    """

    def __init__(
        self,
        n: int | None = None,
        shape: SizeLike | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype = torch.int8,
    ) -> None:
        if n is None and shape is None:
            raise SpecError(
                message("Binary", "neither n nor shape given", fix="Give one, Binary(3) or Binary(shape=(3,))")
            )
        size = (
            as_size(() if shape is None else shape) if n is None else sized("Binary", shape, check_count("Binary", n))
        )
        super().__init__(size, device, dtype)
        self._space = BinaryBox(size[-1] if size else 1)

    @property
    def space(self) -> BinaryBox:
        """The size of the last dimension, `space.n`."""
        return self._space

    @property
    def n(self) -> int:
        """Size of the last dimension, 1 where there is none."""
        return self._space.n

    def rand(self, shape: SizeLike = (), *, generator: Generator | None = None) -> Tensor:
        """Zeros and ones with equal chances, of shape `[*shape, *self.shape]`."""
        size = self._sample_size(shape)
        return torch.randint(0, 2, size, generator=generator, device=self._device).to(self._dtype)

    def project(self, value: Tensor) -> Tensor:
        """1 where `value` is at least one half, 0 elsewhere, in the spec's dtype."""
        return (value if value.dtype == torch.bool else value >= 0.5).to(self._dtype)

    def encode(self, value: Any) -> Tensor:
        """`value` as a tensor of the spec's dtype on its device; that it is 0 or 1 is not checked.

        Raises:
            ShapeError: the shape does not end in that of the spec.
        """
        return check_encoded(self, as_tensor(value, self._dtype, self._device))

    def cardinality(self) -> int | float:
        """Number of different last dimensions, `2 ** n`; infinite where `n` is open."""
        return math.inf if self.n == -1 else int(2**self.n)

    def enumerate(self, *, use_mask: bool = False) -> Tensor:
        """Every last dimension, `[2 ** n, *shape]`, counting upwards in binary; `use_mask` has no effect.

        Raises:
            SpecError: there are too many.
        """
        check_listable("Binary.enumerate", self.cardinality(), self.numel())
        places = torch.arange(self.n - 1, -1, -1, device=self._device)
        values = (torch.arange(2**self.n, device=self._device).unsqueeze(-1) >> places) & 1
        shape = self._shape if self._shape else Size((1,))
        rows = values.to(self._dtype).reshape(-1, *[1] * (len(shape) - 1), self.n).expand(-1, *shape)
        return rows if self._shape else rows.squeeze(-1)

    def _valid(self, value: Tensor) -> Tensor:
        return (value == 0) | (value == 1)

    def _domain_str(self) -> str:
        return f"n={self.n}"

    def _combine(self, others: Sequence["Binary"], op: ShapeOp) -> "Binary":
        check_equal_but_shape(self, list(others), is_domain_in_shape=True)
        shape = moved_size([self._shape, *(other.shape for other in others)], self._device, op)
        return self._reshaped(shape)

    def _reshaped(self, shape: Size) -> "Binary":
        return Binary(None, shape, self._device, self._dtype)

    def _convert(self, device: torch.device | None, dtype: torch.dtype | None) -> "Binary":
        return Binary(None, self._shape, device or self._device, dtype or self._dtype)
