"""Specs of one tensor."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, Self, TypeVar

import numpy as np
import torch
from torch import Generator, Size, Tensor

from rl_specs._base import TensorSpec, resolve_device
from rl_specs._light_zeros import light_zeros
from rl_specs._shape_ops import SizeLike, as_size, check_dim, known, shape_fits, trailing_str
from rl_specs.difference import Difference
from rl_specs.errors import DTypeError, ShapeError, SpecError, message
from rl_specs.keys import NestedKey
from rl_specs.spaces import ContinuousBox
from rl_specs.stacked import Stacked

S = TypeVar("S", bound="LeafSpec")


class LeafSpec(TensorSpec):
    """Spec of one tensor; `dtype` and `device` are always set.

    A subclass writes the domain: `_valid`, `_domain_str`, `rand`, `project`, `encode`, and how it is rebuilt.
    """

    def __init__(self, shape: SizeLike, device: torch.device | str | int | None, dtype: torch.dtype) -> None:
        super().__init__(as_size(shape), resolve_device(device))
        _check_shape(type(self).__name__, self._shape)
        _check_dtype(type(self).__name__, dtype)
        self._dtype = dtype

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of a value."""
        return self._dtype

    @property
    def device(self) -> torch.device:
        """Device of a value."""
        assert self._device is not None
        return self._device

    @property
    def domain(self) -> Literal["continuous", "discrete"]:
        """`"continuous"` for floating-point numbers, `"discrete"` for integers and categories."""
        is_number = isinstance(self.space, ContinuousBox) and (self._dtype.is_floating_point or self._dtype.is_complex)
        return "continuous" if is_number else "discrete"

    @property
    @abstractmethod
    def space(self) -> Any:
        """What the elements may be, as one of the records of `rl_specs.spaces`."""

    @abstractmethod
    def rand(self, shape: SizeLike = (), *, generator: Generator | None = None) -> Tensor:
        """A random value of shape `[*shape, *self.shape]` that is in the spec."""

    @abstractmethod
    def project(self, value: Tensor) -> Tensor:
        """The value of the spec nearest to `value`, in the spec's dtype."""

    @abstractmethod
    def encode(self, value: Any) -> Tensor:
        """A value from numpy or Python, as this spec holds it."""

    def zero(self, shape: SizeLike = ()) -> Tensor:
        """Zeros of shape `[*shape, *self.shape]`, to be written to; they may lie outside the domain.

        On the CPU a large one takes memory as it is written to, page by page. Open sizes are 1.
        """
        return light_zeros(as_size(shape) + known(self._shape), self._dtype, self.device)

    def one(self, shape: SizeLike = ()) -> Tensor:
        """Ones of shape `[*shape, *self.shape]`; they may lie outside the domain. Open sizes are 1."""
        return torch.ones(as_size(shape) + known(self.shape), dtype=self._dtype, device=self._device)

    def to_numpy(self, value: Tensor) -> np.ndarray[Any, Any]:
        """`value` as a numpy array, as `encode` takes it."""
        return tensor_to_numpy(value)

    @property
    def is_dynamic(self) -> bool:
        """Whether a size is open, -1 in the shape, so that values of any size there are in the spec."""
        return -1 in self._shape

    def fits(self, shape: Size) -> bool:
        """Whether `shape` is that of one value: any size where the spec leaves it open."""
        return shape == self._shape or shape_fits(shape, self._shape, Size())

    def sized(self, *sizes: int) -> Self:
        """The spec with its open sizes set, from the first on.

        Args:
            sizes: one for each -1 of the shape; -1 leaves it open.
        Raises:
            ShapeError: there are more or fewer.
        """
        count = list(self._shape).count(-1)
        if len(sizes) != count:
            problem = f"{len(sizes)} sizes given"
            component = f"{type(self).__name__}.sized"
            raise ShapeError(message(component, problem, expected=count, found=f"the shape {tuple(self._shape)}"))
        given = iter(sizes)
        return self._reshaped(Size([next(given) if size == -1 else size for size in self._shape]))

    def make_neg_dim(self, dim: int) -> Self:
        """The spec of values of any size along dimension `dim`.

        Raises:
            SpecError: places along the dimension have different bounds or masks.
        """
        component = f"{type(self).__name__}.make_neg_dim"
        at = check_dim(dim, self.ndim, component)
        if self._shape[at] == -1:
            return self
        one = self._combine((), lambda values: values[0].narrow(at, 0, 1)) if at < self._front else None
        if one is None or one.expand(self._shape) != self:
            problem = f"places along dimension {dim} differ, or lie behind an open size"
            raise SpecError(message(component, problem, found=self, fix="Open dimensions from the last on"))
        return one._reshaped(Size([-1 if i == at else size for i, size in enumerate(self._shape)]))

    def numel(self) -> int:
        """Number of elements of the shape.

        Raises:
            ShapeError: a size is open.
        """
        return self._sample_size(()).numel()

    def __contains__(self, value: object) -> bool:
        return self.is_in(value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LeafSpec) or type(other) is not type(self):
            return False
        return self._shape == other._shape and self._same_elements(other) and bool(self.space == other.space)

    def __hash__(self) -> int:
        return hash((type(self).__name__, tuple(self._shape), self._dtype, self._device, self.space))

    def __repr__(self) -> str:
        parts = [f"shape={tuple(self._shape)}", self._domain_str(), f"dtype={dtype_str(self._dtype)}"]
        return f"{type(self).__name__}({', '.join([*parts, f'device={self._device}'])})"

    @abstractmethod
    def _valid(self, value: Tensor) -> Tensor:
        """Mask of the places of `value`, a tensor of the right form, that are in the domain."""

    @abstractmethod
    def _domain_str(self) -> str:
        """The domain in a few words, as the repr and messages have it."""

    @abstractmethod
    def _reshaped(self, shape: Size) -> Self:
        """The same spec with open sizes set, or sizes of 1 open."""

    def _sample_size(self, shape: SizeLike) -> Size:
        """Shape of a value with `shape` in front.

        Raises:
            ShapeError: a size is open.
        """
        size = as_size(shape) + self._shape
        if -1 in self._shape:
            fix = "Give the sizes: spec.sized(...), one for each -1"
            problem = "values are of any size"
            raise ShapeError(message(type(self).__name__, problem, found=f"the shape {tuple(self._shape)}", fix=fix))
        return size

    def _same_elements(self, other: "LeafSpec") -> bool:
        return self._dtype == other._dtype and self._device == other._device

    def _stack_lazily(self, others: Sequence["LeafSpec"], dim: int) -> TensorSpec:
        return Stacked(self, *others, dim=dim)

    def _matches(self, value: Any, lead: Size | None) -> bool:
        return (
            isinstance(value, Tensor)
            and value.dtype == self._dtype
            and value.device == self._device
            and shape_fits(value.shape, self._shape, lead)
            and bool(self._valid(value).all())
        )

    def _differences(self, value: Any, key: NestedKey | None, lead: Size | None) -> list[Difference]:
        if not isinstance(value, Tensor):
            return [Difference(key, "type", "Tensor", type(value).__name__)]
        found = []
        if not shape_fits(value.shape, self._shape, lead):
            expected = trailing_str(self._shape) if lead is None else str(tuple(lead + self._shape))
            found.append(Difference(key, "shape", expected, str(tuple(value.shape))))
        if value.dtype != self._dtype:
            found.append(Difference(key, "dtype", dtype_str(self._dtype), dtype_str(value.dtype)))
        if value.device != self._device:
            found.append(Difference(key, "device", str(self._device), str(value.device)))
        if not found and not bool(self._valid(value).all()):
            found.append(Difference(key, "domain", self._domain_str(), self._bad_places(value)))
        return found

    def _bad_places(self, value: Tensor) -> str:
        is_bad = ~self._valid(value)
        first = tuple(int(i) for i in is_bad.nonzero()[0])
        shown = value[first].tolist()
        return f"{int(is_bad.sum())} of {is_bad.numel()} outside, first at {first}: {shown}"


def _check_shape(component: str, shape: Size) -> None:
    if any(size < -1 for size in shape):
        expected = "sizes of at least 0, or -1 for any"
        raise ShapeError(message(component, "negative size", expected=expected, found=tuple(shape)))


def _check_dtype(component: str, dtype: object) -> None:
    if not isinstance(dtype, torch.dtype):
        fix = f"Pass torch.{dtype}" if isinstance(dtype, str) else "Pass one, such as torch.float32"
        raise DTypeError(message(component, "dtype", expected="a torch.dtype", found=repr(dtype), fix=fix))


def check_encoded(spec: S, value: Tensor) -> Tensor:
    """`value`, when its shape ends in that of the spec.

    Raises:
        ShapeError: it does not.
    """
    if not shape_fits(value.shape, spec.shape, None):
        component, found = f"{type(spec).__name__}.encode", tuple(value.shape)
        fix = "Reshape the value, or build the spec with the shape of the values"
        raise ShapeError(message(component, "shape differs", expected=trailing_str(spec.shape), found=found, fix=fix))
    return value


def check_equal_but_shape(
    spec: LeafSpec, others: "list[LeafSpec]", *, component: str = "stack", is_domain_in_shape: bool = False
) -> None:
    """Check that specs differ in their shapes at most.

    Args:
        spec: what the others are compared with.
        others: specs.
        component: name in the message.
        is_domain_in_shape: whether the space of the kind follows from dtype and shape, so that it is not compared.
    Raises:
        SpecError: they differ in kind, dtype, device or domain.
    """
    for i, other in enumerate(others, start=1):
        same = type(other) is type(spec) and spec._same_elements(other)
        same = same and (is_domain_in_shape or bool(spec.space == other.space))
        if not same:
            raise SpecError(
                message(component, f"spec {i} differs from spec 0", expected=spec, found=other, fix="Use equal specs")
            )


def as_tensor(value: Any, dtype: torch.dtype | None, device: torch.device | None) -> Tensor:
    """`value` (tensor, numpy, numbers, nested lists) as a tensor; numpy memory is shared where it can be."""
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], (np.ndarray, np.generic)):
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and (not value.flags.writeable or any(step < 0 for step in value.strides)):
        value = value.copy()
    return torch.as_tensor(value, dtype=dtype, device=device)


def tensor_to_numpy(value: Tensor) -> np.ndarray[Any, Any]:
    """`value` as a numpy array on the host; bfloat16, which numpy lacks, as float32."""
    host = value.detach().cpu()
    array: np.ndarray[Any, Any] = (host.float() if host.dtype == torch.bfloat16 else host).numpy()
    return array


def dtype_str(dtype: torch.dtype) -> str:
    """`float32` for `torch.float32`."""
    return str(dtype).removeprefix("torch.")
