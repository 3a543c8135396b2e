"""What the two forms of a categorical variable share, and those of several."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor

from rl_specs._leaf import check_equal_but_shape
from rl_specs._masked import MaskedSpec
from rl_specs._shape_ops import ShapeOp, SizeLike
from rl_specs.spaces import CategoricalBox, MultiCategoricalBox


class VariableSpec(MaskedSpec):
    """A spec of categorical variables. Abstract: subclasses say how a value holds them."""

    @abstractmethod
    def to_one_hot(self, value: Tensor) -> Tensor:
        """`value` as one-hot vectors."""

    @abstractmethod
    def to_one_hot_spec(self) -> Any:
        """The spec of `to_one_hot(value)`."""

    @abstractmethod
    def to_categorical(self, value: Tensor) -> Tensor:
        """`value` as category numbers."""

    @abstractmethod
    def to_categorical_spec(self) -> Any:
        """The spec of `to_categorical(value)`."""

    @abstractmethod
    def _moved_shape(self, others: Sequence[MaskedSpec], op: ShapeOp) -> Size:
        """Shape of the spec after a shape operation."""

    @abstractmethod
    def _remade(self, shape: Size, device: torch.device, dtype: torch.dtype, mask: Tensor | None) -> Any:
        """A spec of the same variables."""

    def _combine(self, others: Sequence[Any], op: ShapeOp) -> Any:
        check_equal_but_shape(self, list(others))
        shape, mask = self._moved_shape(others, op), self._moved_mask(others, op)
        return self._remade(shape, self.device, self._dtype, mask)

    def _convert(self, device: torch.device | None, dtype: torch.dtype | None) -> Any:
        return self._remade(self._shape, device or self.device, dtype or self._dtype, self._mask)

    def _reshaped(self, shape: Size) -> Any:
        return self._remade(shape, self.device, self._dtype, self._mask)


class OneVariable(VariableSpec):
    """A variable of `n` categories. Abstract: `Categorical` and `OneHot` are its two forms."""

    def __init__(
        self,
        n: int,
        shape: SizeLike,
        device: torch.device | str | int | None,
        dtype: torch.dtype,
        mask: Tensor | None,
    ) -> None:
        super().__init__(shape, device, dtype)
        self._space = CategoricalBox(n)
        self.update_mask(mask)

    @property
    def space(self) -> CategoricalBox:
        """The number of categories, `space.n`."""
        return self._space

    @property
    def n(self) -> int:
        """Number of categories."""
        return self._space.n

    def cardinality(self) -> int:
        """Number of categories."""
        return self._space.n

    @property
    def _mask_blocks(self) -> list[int]:
        return [self._space.n]

    def _domain_str(self) -> str:
        return f"n={self._space.n}{self._mask_str()}"


class SeveralVariables(VariableSpec):
    """Variables of `nvec[i]` categories. Abstract: `MultiCategorical` and `MultiOneHot` are the two forms."""

    def __init__(
        self,
        nvec: tuple[int, ...],
        shape: SizeLike,
        device: torch.device | str | int | None,
        dtype: torch.dtype,
        mask: Tensor | None,
    ) -> None:
        super().__init__(shape, device, dtype)
        self._space = MultiCategoricalBox(nvec)
        self.update_mask(mask)

    @property
    def space(self) -> MultiCategoricalBox:
        """The numbers of categories, `space.nvec`."""
        return self._space

    @property
    def nvec(self) -> tuple[int, ...]:
        """Number of categories of each variable."""
        return self._space.nvec

    def cardinality(self) -> int:
        """Number of combinations of categories."""
        return math.prod(self._space.nvec)

    @property
    def _mask_blocks(self) -> list[int]:
        return list(self._space.nvec)

    def _domain_str(self) -> str:
        return f"nvec={list(self._space.nvec)}{self._mask_str()}"
