"""Tensors of different shapes or domains, side by side."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Size, Tensor

from rl_specs._base import TensorSpec
from rl_specs._lazy_stack import LazyStack
from rl_specs._shape_ops import SizeLike, as_size, shape_fits, trailing_str
from rl_specs.errors import SpecError, message


@final
class Stacked(LazyStack):
    """Specs of tensors, of one kind, stacked though their shapes or domains differ.

    The shape has -1 where sizes differ, which can only be behind the dimension of the stack. Where all sizes agree (two
    `Categorical` of different `n`, say) a value is one tensor. Where they do not, it is a list of tensors, one for each
    spec and each with all dimensions in front: what `LazyStackedTensorDict.get(key, as_list=True)` returns. A nested
    tensor of such tensors, or a list where one tensor would do, is in the spec too.

    Shape operations reach the dimensions in front of the first -1, an index of integers and slices all dimensions.
    `torch.stack` of specs that differ makes one.

    Args:
        specs: specs of tensors, of one kind, dtype, device and number of dimensions.
        dim: where the new dimension goes.
    Raises:
        SpecError: a spec is of no single tensor, the specs are not of one kind, or there is none.
        ShapeError: sizes differ in front of `dim`.
    """

    @property
    def dtype(self) -> torch.dtype | None:
        """Dtype of all parts of a value."""
        return self._specs[0].dtype

    @property
    def space(self) -> tuple[Any, ...]:
        """The spaces of the stacked specs."""
        return tuple(spec.space for spec in self._specs)

    def _check_parts(self, specs: Sequence[TensorSpec]) -> None:
        for i, spec in enumerate(specs):
            if not isinstance(spec, TensorSpec) or spec.dtype is None:
                problem, fix = f"spec {i} is not that of a tensor", "Stack Composites with torch.stack"
                raise SpecError(message("Stacked", problem, found=type(spec).__name__, fix=fix))

    def _joined(self, values: list[Any], lead: SizeLike) -> Any:
        return values if -1 in self._shape else torch.stack(values, len(as_size(lead)) + self._dim)

    def _split(self, value: Any, lead: Size | None) -> tuple[list[Any], Size] | None:
        if isinstance(value, Tensor) and value.is_nested:
            return None if self._dim != 0 or lead else self._split(list(value.unbind()), Size())
        if isinstance(value, Tensor):
            if not shape_fits(value.shape, self._shape, lead):
                return None
            front = value.shape[: value.ndim - self.ndim]
            return list(value.unbind(len(front) + self._dim)), front
        if not isinstance(value, (list, tuple)) or len(value) != len(self._specs):
            return None
        return list(value), _lead_of(self._specs[0], value[0]) if lead is None else lead

    def _form_str(self) -> str:
        if -1 not in self._shape:
            return f"Tensor of shape {trailing_str(self._shape)}"
        return f"list of tensors of shapes {', '.join(trailing_str(spec.shape) for spec in self._specs)}"


def _lead_of(spec: TensorSpec, part: Any) -> Size:
    """Dimensions of a part of a value in front of those of its spec."""
    if isinstance(spec, Stacked):
        split = spec._split(part, None)
        return Size() if split is None else split[1]
    return part.shape[: max(0, part.ndim - spec.ndim)] if isinstance(part, Tensor) else Size()
