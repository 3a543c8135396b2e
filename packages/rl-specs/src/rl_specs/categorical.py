"""Categories, as integers and as one-hot vectors.

The two forms of one variable stand together because each converts to the other.
"""

from collections.abc import Sequence
from typing import Any, Final, final

import numpy as np
import torch
from torch import Generator, Size, Tensor

from rl_specs._discrete import as_categories, check_count, check_integer_dtype, is_encoded, moved_shape, sized
from rl_specs._leaf import as_tensor, check_encoded, tensor_to_numpy
from rl_specs._listing import check_listable
from rl_specs._masked import MaskedSpec, allowed_scores, is_allowed, nearest_allowed, random_allowed
from rl_specs._one_hot_math import (
    check_indices,
    expand_index,
    greatest_index,
    is_one_hot,
    nearest_one_hot,
    random_one_hot,
)
from rl_specs._shape_ops import ShapeOp, SizeLike, as_size, moved_size
from rl_specs._variables import OneVariable
from rl_specs._whole_numbers import to_whole

_NO_SIZE: Final = Size(())


@final
class Categorical(OneVariable):
    """Tensor of integers from 0 to `n - 1`.

    Args:
        n: number of categories.
        shape: shape of a value, default `()`.
        device: default torch's default device.
        dtype: an integer dtype, or bool for `n <= 2`.
        mask: bool, broadcasts to `[*shape, n]`, False where a category is ruled out; see `update_mask`.
    Raises:
        SpecError: `n` is not positive, or the mask rules out everything at a place.
        DTypeError: the dtype cannot hold `n` categories as integers.
    """

    def __init__(
        self,
        n: int,
        shape: SizeLike | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype = torch.int64,
        mask: Tensor | None = None,
    ) -> None:
        n = check_count("Categorical", n)
        check_integer_dtype("Categorical", dtype, n)
        super().__init__(n, () if shape is None else shape, device, dtype, mask)

    def rand(self, shape: SizeLike = (), *, generator: Generator | None = None) -> Tensor:
        """Categories drawn uniformly, of shape `[*shape, *self.shape]`."""
        size = self._sample_size(shape)
        if self._mask is not None:
            return random_allowed(self._mask, as_size(shape), generator).to(self._dtype)
        return torch.randint(0, self.n, size, generator=generator, device=self._device).to(self._dtype)

    def project(self, value: Tensor) -> Tensor:
        """The nearest category that the mask allows, in the spec's dtype."""
        index = to_whole(value)
        nearest = index.clamp(0, self.n - 1) if self._mask is None else nearest_allowed(index, self._mask)
        return nearest.to(self._dtype)

    def encode(self, value: Any) -> Tensor:
        """Category numbers as a tensor of the spec's dtype on its device; the range is not checked.

        Raises:
            SpecError: a number is not whole.
            ShapeError: the shape does not end in that of the spec.
        """
        return check_encoded(self, as_categories("Categorical.encode", value, self._dtype, self.device))

    def enumerate(self, *, use_mask: bool = False) -> Tensor:
        """Every value, `[cardinality, *shape]`: all places of a value at one category, then at the next.

        Args:
            use_mask: leave out the categories that the mask, the same at all places, rules out.
        Raises:
            SpecError: `use_mask`, and the mask is not the same at all places.
        """
        check_listable("Categorical.enumerate", self.cardinality(), self.numel())
        values = torch.arange(self.n, device=self._device)
        mask = self._common_mask() if use_mask else None
        chosen = (values if mask is None else values[mask]).to(self._dtype)
        return chosen.reshape(-1, *[1] * self.ndim).expand(-1, *self._shape)

    def to_categorical(self, value: Tensor) -> Tensor:
        """`value` itself."""
        return value

    def to_categorical_spec(self) -> "Categorical":
        """A copy of this spec."""
        return self.clone()

    def to_one_hot(self, value: Tensor) -> Tensor:
        """`value` `[*B, *shape]` as bool `[*B, *shape, n]`."""
        return expand_index(to_whole(value), self.n)

    def to_one_hot_spec(self) -> "OneHot":
        """The spec of `to_one_hot(value)`."""
        return OneHot(self.n, (*self._shape, self.n), self._device, mask=self._mask)

    def _valid(self, value: Tensor) -> Tensor:
        index = to_whole(value)
        is_valid = (index >= 0) & (index < self.n)
        return is_valid if self._mask is None else is_valid & is_allowed(index, self._mask)

    @property
    def _mask_shape(self) -> Size:
        return Size((*self._shape, self.n))

    def _moved_shape(self, others: Sequence[MaskedSpec], op: ShapeOp) -> Size:
        return moved_size([self._shape, *(other.shape for other in others)], self._device, op)

    def _remade(self, shape: Size, device: torch.device, dtype: torch.dtype, mask: Tensor | None) -> "Categorical":
        return Categorical(self.n, shape, device, dtype, mask)


@final
class OneHot(OneVariable):
    """Tensor `[*batch, n]` whose last dimension is 0 but for a single 1.

    Args:
        n: number of categories.
        shape: shape of a value, ending in `n`; default `(n,)`.
        device: default torch's default device.
        dtype: dtype of the zeros and ones.
        mask: bool, broadcasts to `shape`, False where a category is ruled out; see `update_mask`.
    Raises:
        SpecError: `n` is not positive, or the mask rules out everything at a place.
        ShapeError: `shape` does not end in `n`.
    """

    def __init__(
        self,
        n: int,
        shape: SizeLike | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype = torch.bool,
        mask: Tensor | None = None,
    ) -> None:
        n = check_count("OneHot", n)
        super().__init__(n, sized("OneHot", shape, n), device, dtype, mask)

    def rand(self, shape: SizeLike = (), *, generator: Generator | None = None) -> Tensor:
        """One-hot vectors of uniformly drawn categories, of shape `[*shape, *self.shape]`."""
        size = _NO_SIZE if shape == () and len(self._shape) == 1 else self._sample_size(shape)[:-1]
        if self._mask is not None:
            return expand_index(random_allowed(self._mask, as_size(shape), generator), self.n).to(self._dtype)
        return random_one_hot(self._space.n, size, self._dtype, self.device, generator)

    def project(self, value: Tensor) -> Tensor:
        """One-hot vectors of the greatest elements of `value` that the mask allows (the first of equal ones)."""
        scores = value if self._mask is None else allowed_scores(value, self._mask)
        return nearest_one_hot(scores).to(self._dtype)

    def encode(self, value: Any) -> Tensor:
        """One-hot vectors of category numbers, of shape `[*batch]`; vectors of the spec's shape and dtype pass.

        Raises:
            SpecError: a category is out of range, or no whole number.
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

    def enumerate(self, *, use_mask: bool = False) -> Tensor:
        """Every value, `[cardinality, *shape]`: all vectors of a value at one category, then at the next.

        Args:
            use_mask: leave out the categories that the mask, the same for all vectors, rules out.
        Raises:
            SpecError: `use_mask`, and the mask is not the same for all vectors.
        """
        check_listable("OneHot.enumerate", self.cardinality(), self.numel())
        indices = self.to_categorical_spec().enumerate(use_mask=use_mask)
        return expand_index(indices, self.n).to(self._dtype)

    def to_one_hot(self, value: Tensor) -> Tensor:
        """`value` itself."""
        return value

    def to_one_hot_spec(self) -> "OneHot":
        """A copy of this spec."""
        return self.clone()

    def to_categorical_spec(self) -> "Categorical":
        """The spec of `to_categorical(value)`."""
        return Categorical(self.n, self._shape[:-1], self._device, mask=self._mask)

    def to_categorical(self, value: Tensor) -> Tensor:
        """Category numbers `[*B]`, int64, of one-hot vectors `[*B, n]`."""
        return greatest_index(value)

    def _valid(self, value: Tensor) -> Tensor:
        is_valid = is_one_hot(value)
        return is_valid if self._mask is None else is_valid & ~((value != 0) & ~self._mask).any(-1)

    @property
    def _mask_shape(self) -> Size:
        return self._shape

    def _moved_shape(self, others: Sequence[MaskedSpec], op: ShapeOp) -> Size:
        return moved_shape([self, *others], op)

    def _remade(self, shape: Size, device: torch.device, dtype: torch.dtype, mask: Tensor | None) -> "OneHot":
        return OneHot(self.n, shape, device, dtype, mask)
