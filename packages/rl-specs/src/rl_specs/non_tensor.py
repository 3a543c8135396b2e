"""Entries that are no tensors: strings, objects."""

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from tensordict import NonTensorData, NonTensorStack, is_tensor_collection
from torch import Generator, Size, Tensor

from rl_specs._base import TensorSpec, resolve_device
from rl_specs._shape_ops import ShapeOp, SizeLike, as_size, dummy, shape_fits
from rl_specs.difference import Difference
from rl_specs.errors import SpecError, message
from rl_specs.keys import NestedKey


@final
class NonTensor(TensorSpec):
    """Any Python object, held by a TensorDict as `NonTensorData`.

    Args:
        shape: batch shape of a value.
        device: `None` leaves it open.
        example_data: the object that `rand`, `zero` and `one` return.
    """

    def __init__(
        self, shape: SizeLike = (), device: torch.device | str | int | None = None, *, example_data: Any = None
    ) -> None:
        super().__init__(as_size(shape), None if device is None else resolve_device(device))
        self._example_data = example_data

    @property
    def dtype(self) -> None:
        """No dtype."""
        return None

    @property
    def space(self) -> None:
        """No space."""
        return None

    @property
    def example_data(self) -> Any:
        """The object that stands for all others."""
        return self._example_data

    def rand(self, shape: SizeLike = (), *, generator: Generator | None = None) -> NonTensorData:
        """The example, with batch shape `[*shape, *self.shape]`; `generator` is not used."""
        return NonTensorData(self._example_data, batch_size=as_size(shape) + self._shape, device=self._device)

    def zero(self, shape: SizeLike = ()) -> NonTensorData:
        """Same as `rand`."""
        return self.rand(shape)

    def one(self, shape: SizeLike = ()) -> NonTensorData:
        """Same as `rand`."""
        return self.rand(shape)

    def project(self, value: Any) -> Any:
        """`value` itself."""
        return value

    def encode(self, value: Any) -> Any:
        """`value` as `NonTensorData` of the shape of the spec, or as it is when it already is one."""
        if isinstance(value, (NonTensorData, NonTensorStack)):
            return value
        return NonTensorData(value, batch_size=self._shape, device=self._device)

    def to_numpy(self, value: Any) -> Any:
        """The Python object, or nested lists of objects for a stack."""
        if isinstance(value, NonTensorStack):
            return value.tolist()
        return value.data if isinstance(value, NonTensorData) else value

    def cardinality(self) -> float:
        """Infinite."""
        return math.inf

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NonTensor):
            return False
        same_data = bool(self._example_data == other._example_data)
        return self._shape == other._shape and self._device == other._device and same_data

    def __hash__(self) -> int:
        return hash(("NonTensor", tuple(self._shape), self._device))

    def __repr__(self) -> str:
        example = "" if self._example_data is None else f", example_data={self._example_data!r}"
        return f"NonTensor(shape={tuple(self._shape)}, device={self._device}{example})"

    def _matches(self, value: Any, lead: Size | None) -> bool:
        return not self._differences(value, None, lead)

    def _differences(self, value: Any, key: NestedKey | None, lead: Size | None) -> list[Difference]:
        if isinstance(value, (NonTensorData, NonTensorStack)):
            if shape_fits(value.batch_size, self._shape, lead):
                return []
            expected = "any" if lead is None else str(tuple(lead + self._shape))
            return [Difference(key, "shape", expected, str(tuple(value.batch_size)))]
        if isinstance(value, Tensor) or is_tensor_collection(value):
            return [Difference(key, "type", "an object that is no tensor", type(value).__name__)]
        return []

    def _combine(self, others: Sequence["NonTensor"], op: ShapeOp) -> "NonTensor":
        for other in others:
            if other._device != self._device or other._example_data != self._example_data:
                raise SpecError(message("stack", "specs differ", expected=self, found=other, fix="Use equal specs"))
        shape = op([dummy(spec.shape, self._device) for spec in (self, *others)]).shape
        return NonTensor(shape, self._device, example_data=self._example_data)

    def _stack_lazily(self, others: Sequence["NonTensor"], dim: int) -> TensorSpec:
        fix = "Give them one example_data, or stack Composites that hold them"
        raise SpecError(message("stack", "NonTensor specs differ", expected=self, found=list(others), fix=fix))

    def _convert(self, device: torch.device | None, dtype: torch.dtype | None) -> "NonTensor":
        return NonTensor(self._shape, device or self._device, example_data=self._example_data)
