"""One-hot vectors."""

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Generator, Tensor

from rl_specs._discrete import check_count, is_encoded, moved_shape, sized
from rl_specs._leaf import LeafSpec, as_tensor, check_encoded, check_equal_but_shape, tensor_to_numpy
from rl_specs._one_hot_math import (
    check_indices,
    expand_index,
    greatest_index,
    is_one_hot,
    nearest_one_hot,
    random_one_hot,
)
from rl_specs._shape_ops import ShapeOp, SizeLike, as_size
from rl_specs.spaces import CategoricalBox


@final
class OneHot(LeafSpec):
    """Tensor `[*batch, n]` whose last dimension is 0 but for a single 1.

    Args:
        n: number of categories.
        shape: shape of a value, ending in `n`; default `(n,)`.
        device: default torch's default device.
        dtype: dtype of the zeros and ones.
    Raises:
        SpecError: `n` is not positive.
        ShapeError: `shape` does not end in `n`.
    """

    def __init__(
        self,
        n: int,
        shape: SizeLike | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype = torch.bool,
    ) -> None:
        n = check_count("OneHot", n)
        super().__init__(sized("OneHot", shape, n), device, dtype)
        self._space = CategoricalBox(n)

    @property
    def space(self) -> CategoricalBox:
        """The number of categories, `space.n`."""
        return self._space

    @property
    def n(self) -> int:
        """Number of categories."""
        return self._space.n

    def rand(self, shape: SizeLike = (), *, generator: Generator | None = None) -> Tensor:
        """One-hot vectors of uniformly drawn categories, of shape `[*shape, *self.shape]`."""
        return random_one_hot(self.n, as_size(shape) + self._shape[:-1], self._dtype, self.device, generator)

    def project(self, value: Tensor) -> Tensor:
        """One-hot vectors of the greatest elements of `value` (the first of equal ones), in the spec's dtype."""
        return nearest_one_hot(value).to(self._dtype)

    def encode(self, value: Any) -> Tensor:
        """One-hot vectors of category numbers, of shape `[*batch]`; vectors of the spec's shape and dtype pass.

        Raises:
            SpecError: a category is out of range.
            ShapeError: the shape does not end in that of the spec.
        """
        index = as_tensor(value, None, self._device)
        if is_encoded(self, index):
            return index
        check_indices("OneHot.encode", index, self.n)
        return check_encoded(self, expand_index(index, self.n).to(self._dtype))

    def to_numpy(self, value: Tensor) -> np.ndarray[Any, Any]:
        """Category numbers `[*batch]` of one-hot vectors."""
        return tensor_to_numpy(self.to_categorical(value))

    def cardinality(self) -> int:
        """Number of categories."""
        return self.n

    def to_categorical(self, value: Tensor) -> Tensor:
        """Category numbers `[*B]`, int64, of one-hot vectors `[*B, n]`."""
        return greatest_index(value)

    def _valid(self, value: Tensor) -> Tensor:
        return is_one_hot(value)

    def _domain_str(self) -> str:
        return f"n={self.n}"

    def _combine(self, others: Sequence["OneHot"], op: ShapeOp) -> "OneHot":
        check_equal_but_shape(self, list(others))
        return OneHot(self.n, moved_shape([self, *others], op), self._device, self._dtype)

    def _convert(self, device: torch.device | None, dtype: torch.dtype | None) -> "OneHot":
        return OneHot(self.n, self._shape, device or self._device, dtype or self._dtype)
