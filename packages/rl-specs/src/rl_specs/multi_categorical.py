"""Several categories side by side, as integers and as one-hot vectors in a row.

The two forms of the same variables stand together because each converts to the other.
"""

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Generator, Size, Tensor

from rl_specs._discrete import as_categories, check_integer_dtype, check_nvec, is_encoded, moved_shape, sized
from rl_specs._leaf import as_tensor, check_encoded, tensor_to_numpy
from rl_specs._listing import check_listable
from rl_specs._masked import MaskedSpec, allowed_scores, is_allowed, nearest_allowed, random_allowed
from rl_specs._one_hot_math import (
    check_indices,
    check_one_hot,
    expand_index,
    greatest_index,
    is_one_hot,
    nearest_one_hot,
    random_one_hot,
)
from rl_specs._shape_ops import ShapeOp, SizeLike, as_size, known
from rl_specs._variables import SeveralVariables
from rl_specs._whole_numbers import to_whole


@final
class MultiCategorical(SeveralVariables):
    """Tensor `[*batch, len(nvec)]` of integers, the i-th of the last dimension from 0 to `nvec[i] - 1`.

    Args:
        nvec: number of categories of each variable.
        shape: shape of a value, ending in `len(nvec)`; default `(len(nvec),)`.
        device: default torch's default device.
        dtype: an integer dtype.
        mask: bool, broadcasts to `[*batch, sum(nvec)]`, False where a category is ruled out; see `update_mask`.
    Raises:
        SpecError: `nvec` is empty or holds a number that is not positive, or the mask rules out everything somewhere.
        ShapeError: `shape` does not end in `len(nvec)`.
        DTypeError: the dtype cannot hold the categories as integers.
    """

    def __init__(
        self,
        nvec: Sequence[int] | Tensor,
        shape: SizeLike | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype = torch.int64,
        mask: Tensor | None = None,
    ) -> None:
        counts = check_nvec("MultiCategorical", nvec)
        check_integer_dtype("MultiCategorical", dtype, max(counts))
        super().__init__(counts, sized("MultiCategorical", shape, len(counts)), device, dtype, mask)
        self._counts = torch.tensor(counts, device=self._device)

    def rand(self, shape: SizeLike = (), *, generator: Generator | None = None) -> Tensor:
        """Categories drawn uniformly, of shape `[*shape, *self.shape]`."""
        size = self._sample_size(shape)[:-1]
        if self._mask is not None:
            allowed = [random_allowed(block, as_size(shape), generator) for block in self._split_mask(self._mask)]
            return torch.stack(allowed, -1).to(self._dtype)
        draws = [torch.randint(0, n, size, generator=generator, device=self._device) for n in self.nvec]
        return torch.stack(draws, -1).to(self._dtype)

    def project(self, value: Tensor) -> Tensor:
        """The nearest categories that the mask allows, in the spec's dtype."""
        if self._mask is not None:
            columns, blocks = to_whole(value).unbind(-1), self._split_mask(self._mask)
            nearest = [nearest_allowed(column, block) for column, block in zip(columns, blocks, strict=True)]
            return torch.stack(nearest, -1).to(self._dtype)
        index = to_whole(value).clamp_min(0)
        return torch.minimum(index, self._counts - 1).to(self._dtype)

    def encode(self, value: Any) -> Tensor:
        """Category numbers as a tensor of the spec's dtype on its device; the range is not checked.

        Raises:
            SpecError: a number is not whole.
            ShapeError: the shape does not end in that of the spec.
        """
        return check_encoded(self, as_categories("MultiCategorical.encode", value, self._dtype, self.device))

    def enumerate(self, *, use_mask: bool = False) -> Tensor:
        """Every combination of categories, `[cardinality, *shape]`, the last variable changing fastest.

        Args:
            use_mask: leave out what the mask, the same for the whole batch, rules out.
        Raises:
            SpecError: `use_mask`, and the mask is not the same everywhere.
        """
        check_listable("MultiCategorical.enumerate", self.cardinality(), self.numel())
        mask = self._common_mask() if use_mask else None
        columns = [torch.arange(n, device=self._device) for n in self.nvec]
        if mask is not None:
            columns = [column[block] for column, block in zip(columns, self._split_mask(mask), strict=True)]
        values = torch.stack(torch.meshgrid(*columns, indexing="ij"), -1).reshape(-1, len(self.nvec))
        return values.to(self._dtype).reshape(-1, *[1] * (self.ndim - 1), len(self.nvec)).expand(-1, *self._shape)

    def to_categorical(self, value: Tensor) -> Tensor:
        """`value` itself."""
        return value

    def to_categorical_spec(self) -> "MultiCategorical":
        """A copy of this spec."""
        return self.clone()

    def to_one_hot(self, value: Tensor) -> Tensor:
        """`value` `[*B, len(nvec)]` as bool `[*B, sum(nvec)]`."""
        index = to_whole(value)
        return torch.cat([expand_index(index[..., i], n) for i, n in enumerate(self.nvec)], -1)

    def to_one_hot_spec(self) -> "MultiOneHot":
        """The spec of `to_one_hot(value)`."""
        return MultiOneHot(self.nvec, (*self._shape[:-1], sum(self.nvec)), self._device, mask=self._mask)

    def _valid(self, value: Tensor) -> Tensor:
        index = to_whole(value)
        is_valid = (index >= 0) & (index < self._counts)
        if self._mask is None:
            return is_valid
        columns, blocks = index.unbind(-1), self._split_mask(self._mask)
        return is_valid & torch.stack([is_allowed(c, block) for c, block in zip(columns, blocks, strict=True)], -1)

    def _split_mask(self, mask: Tensor) -> tuple[Tensor, ...]:
        return torch.functional.split(mask, self._mask_blocks, -1)

    @property
    def _mask_shape(self) -> Size:
        return Size((*self._shape[:-1], sum(self.nvec)))

    def _moved_mask(self, others: Sequence[MaskedSpec], op: ShapeOp) -> Tensor | None:
        specs = [self, *others]
        if all(spec._mask is None for spec in specs):
            return None
        # The mask of a value is not as wide as the value: rows are moved by their numbers.
        masks = [spec._unmasked().reshape(-1, self._mask_shape[-1]) for spec in specs]
        numbers, first = [], 0
        for spec, rows in zip(specs, masks, strict=True):
            number, size = torch.arange(first, first + len(rows), device=self._device), known(spec.shape)
            numbers.append(number.reshape(*size[:-1], 1).expand(size))
            first += len(rows)
        return torch.cat(masks)[op(numbers)[..., 0]]

    def _moved_shape(self, others: Sequence[MaskedSpec], op: ShapeOp) -> Size:
        return moved_shape([self, *others], op)

    def _remade(self, shape: Size, device: torch.device, dtype: torch.dtype, mask: Tensor | None) -> "MultiCategorical":
        return MultiCategorical(self.nvec, shape, device, dtype, mask)


@final
class MultiOneHot(SeveralVariables):
    """Tensor `[*batch, sum(nvec)]` whose last dimension is one-hot vectors of lengths `nvec`, one after the other.

    Args:
        nvec: number of categories of each variable.
        shape: shape of a value, ending in `sum(nvec)`; default `(sum(nvec),)`.
        device: default torch's default device.
        dtype: dtype of the zeros and ones.
        mask: bool, broadcasts to `shape`, False where a category is ruled out; see `update_mask`.
    Raises:
        SpecError: `nvec` is empty or holds a number that is not positive, or the mask rules out everything somewhere.
        ShapeError: `shape` does not end in `sum(nvec)`.
    """

    def __init__(
        self,
        nvec: Sequence[int] | Tensor,
        shape: SizeLike | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype = torch.bool,
        mask: Tensor | None = None,
    ) -> None:
        counts = check_nvec("MultiOneHot", nvec)
        super().__init__(counts, sized("MultiOneHot", shape, sum(counts)), device, dtype, mask)

    def rand(self, shape: SizeLike = (), *, generator: Generator | None = None) -> Tensor:
        """One-hot vectors of uniformly drawn categories, of shape `[*shape, *self.shape]`."""
        size = self._sample_size(shape)[:-1]
        if self._mask is not None:
            indices = [random_allowed(block, as_size(shape), generator) for block in self._blocks(self._mask)]
            blocks = [expand_index(index, n) for index, n in zip(indices, self.nvec, strict=True)]
            return torch.cat(blocks, -1).to(self._dtype)
        return torch.cat([random_one_hot(n, size, self._dtype, self.device, generator) for n in self.nvec], -1)

    def project(self, value: Tensor) -> Tensor:
        """In each block the one-hot vector of its greatest element that the mask allows (the first of equal ones)."""
        scores = value if self._mask is None else allowed_scores(value, self._mask)
        return torch.cat([nearest_one_hot(block) for block in self._blocks(scores)], -1).to(self._dtype)

    def encode(self, value: Any) -> Tensor:
        """One-hot blocks of category numbers `[*batch, len(nvec)]`; vectors of the spec's shape, of any dtype, pass.

        Raises:
            SpecError: a category is out of range, or no whole number; the blocks of a vector are not one-hot.
            ShapeError: the shape does not end in that of the spec.
        """
        index = as_tensor(value, None, self._device)
        if is_encoded(self, index):
            return index
        if index.ndim == 0 or index.shape[-1] != len(self.nvec):
            check_one_hot("MultiOneHot.encode", self._blocks(check_encoded(self, index)))
            return index.to(self._dtype)
        check_indices("MultiOneHot.encode", index, torch.tensor(self.nvec))
        blocks = [expand_index(index[..., i], n) for i, n in enumerate(self.nvec)]
        return check_encoded(self, torch.cat(blocks, -1).to(self._dtype))

    def to_numpy(self, value: Tensor) -> np.ndarray[Any, Any]:
        """Category numbers `[*batch, len(nvec)]` of one-hot blocks."""
        return tensor_to_numpy(self.to_categorical(value))

    def enumerate(self, *, use_mask: bool = False) -> Tensor:
        """Every combination of categories as blocks, `[cardinality, *shape]`, the last variable changing fastest.

        Args:
            use_mask: leave out what the mask, the same for the whole batch, rules out.
        Raises:
            SpecError: `use_mask`, and the mask is not the same everywhere.
        """
        check_listable("MultiOneHot.enumerate", self.cardinality(), self.numel())
        spec = self.to_categorical_spec()
        return spec.to_one_hot(spec.enumerate(use_mask=use_mask)).to(self._dtype)

    def to_one_hot(self, value: Tensor) -> Tensor:
        """`value` itself."""
        return value

    def to_one_hot_spec(self) -> "MultiOneHot":
        """A copy of this spec."""
        return self.clone()

    def to_categorical_spec(self) -> "MultiCategorical":
        """The spec of `to_categorical(value)`."""
        return MultiCategorical(self.nvec, (*self._shape[:-1], len(self.nvec)), self._device, mask=self._mask)

    def to_categorical(self, value: Tensor) -> Tensor:
        """Category numbers `[*B, len(nvec)]`, int64, of one-hot blocks `[*B, sum(nvec)]`."""
        return torch.stack([greatest_index(block) for block in self._blocks(value)], -1)

    def _blocks(self, value: Tensor) -> tuple[Tensor, ...]:
        return torch.functional.split(value, list(self.nvec), -1)

    def _valid(self, value: Tensor) -> Tensor:
        is_valid = torch.stack([is_one_hot(block) for block in self._blocks(value)], -1)
        if self._mask is None:
            return is_valid
        is_out = (value != 0) & ~self._mask
        return is_valid & ~torch.stack([block.any(-1) for block in self._blocks(is_out)], -1)

    @property
    def _mask_shape(self) -> Size:
        return self._shape

    def _moved_shape(self, others: Sequence[MaskedSpec], op: ShapeOp) -> Size:
        return moved_shape([self, *others], op)

    def _remade(self, shape: Size, device: torch.device, dtype: torch.dtype, mask: Tensor | None) -> "MultiOneHot":
        return MultiOneHot(self.nvec, shape, device, dtype, mask)
