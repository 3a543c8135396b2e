"""Tensors whose elements lie between two bounds."""

import copy
import math
from collections.abc import Sequence
from typing import Any, TypeAlias, final

import numpy as np
import torch
from torch import Generator, Size, Tensor

from rl_specs._leaf import LeafSpec, as_tensor, check_encoded, dtype_str
from rl_specs._listing import check_listable
from rl_specs._shape_ops import ShapeOp, SizeLike, as_size, dummy, known, moved_size, trailing_str
from rl_specs._whole_numbers import to_whole
from rl_specs.errors import DTypeError, ShapeError, SpecError, message
from rl_specs.spaces import ContinuousBox, bound_str

Bound: TypeAlias = float | Sequence[Any] | np.ndarray[Any, Any] | Tensor
_UNSUPPORTED = (torch.uint16, torch.uint32, torch.uint64)
_WIDEST = 2**63 - 1


@final
class Bounded(LeafSpec):
    """Tensor with `low <= element <= high`; integer dtypes make integers.

    Args:
        low: lowest values, broadcast to `shape`; `-inf` leaves an element unbounded below.
        high: highest values, likewise.
        shape: shape of a value, default the common shape of `low` and `high`.
        device: default that of `low` or `high` where one is a tensor, else torch's default device.
        dtype: default that of `low` or `high` where one is a tensor, else torch's default dtype. Bounds are held in
            it, rounded to nearest.
    Raises:
        ShapeError: `low` and `high` do not broadcast to `shape`.
        SpecError: some `low` is above its `high`, or is NaN.
        DTypeError: the dtype is bool or has no arithmetic in torch, or an infinite bound has no integer.
    """

    def __init__(
        self,
        low: Bound,
        high: Bound,
        shape: SizeLike | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        for bound in (low, high):
            if isinstance(bound, Tensor):
                dtype = bound.dtype if dtype is None else dtype
                device = bound.device if device is None else device
        dtype = torch.get_default_dtype() if dtype is None else dtype
        _check_dtype(dtype)
        size = _common_shape(low, high) if shape is None else as_size(shape)
        super().__init__(size, device, dtype)
        low_tensor = _as_bound(low, known(size), dtype, self.device)
        high_tensor = _as_bound(high, known(size), dtype, self.device)
        if not bool((low_tensor <= high_tensor).all()):
            found = f"low={bound_str(low_tensor)}, high={bound_str(high_tensor)}"
            raise SpecError(message("Bounded", "bounds in the wrong order", expected="low <= high", found=found))
        self._box = ContinuousBox(low_tensor, high_tensor)
        self._is_finite = bool((low_tensor.isfinite() & high_tensor.isfinite()).all())
        self._has_finite_width = self._is_finite and bool((high_tensor - low_tensor).isfinite().all())

    @property
    def space(self) -> ContinuousBox:
        """The bounds, `space.low` and `space.high`."""
        return self._box

    @property
    def low(self) -> Tensor:
        """Lowest values, of the shape of the spec."""
        return self._box.low

    @property
    def high(self) -> Tensor:
        """Highest values, of the shape of the spec."""
        return self._box.high

    def rand(self, shape: SizeLike = (), *, generator: Generator | None = None) -> Tensor:
        """A random value of shape `[*shape, *self.shape]`, never outside the bounds.

        Elements with two finite bounds are uniform; with one, the bound plus or minus an exponential of mean 1; with
        none, standard normal. Integers are uniform over both bounds (over the lowest 2^63 - 1 of a wider range).
        """
        size = self._sample_size(shape)
        if self._dtype.is_floating_point:
            return self._rand_float(size, generator)
        low = self._box.low.to(torch.int64)
        width = self._box.high.to(torch.int64) - low + 1
        width = torch.where(width <= 0, _WIDEST, width)
        draw = torch.randint(0, _WIDEST, size, generator=generator, device=self._device)
        return (low + draw.remainder(width)).to(self._dtype)

    def _rand_float(self, size: Size, generator: Generator | None) -> Tensor:
        low, high = self._box.low, self._box.high
        work = self._dtype if self._dtype == torch.float64 else torch.float32
        uniform = torch.rand(size, generator=generator, dtype=work, device=self._device)
        if self._is_finite:
            if self._has_finite_width and self._dtype == work:
                return torch.lerp(low, high, uniform)  # never outside: each half is measured from its own end
            return (low * (1 - uniform) + high * uniform).to(self._dtype).clamp(low, high)
        normal = torch.randn(size, generator=generator, dtype=work, device=self._device)
        exponential = -torch.log1p(-uniform)
        has_low, has_high = low.isfinite(), high.isfinite()
        one_sided = torch.where(has_low, low + exponential, high - exponential)
        inside = low.nan_to_num(0, 0, 0) * (1 - uniform) + high.nan_to_num(0, 0, 0) * uniform
        value = torch.where(has_low & has_high, inside, torch.where(has_low | has_high, one_sided, normal))
        return value.to(self._dtype).clamp(low, high)

    def project(self, value: Tensor) -> Tensor:
        """`value` clamped to the bounds, in the spec's dtype; integers are rounded first. NaN stays NaN, or `low`."""
        low, high = self._box.low, self._box.high
        try:
            if value.dtype == self._dtype or self._dtype.is_floating_point:
                return value.to(self._dtype).clamp(low, high)
            return to_whole(value).clamp(low.to(torch.int64), high.to(torch.int64)).to(self._dtype)
        except RuntimeError as error:
            fix = "Pass a value whose last dimensions are those of the spec, on its device"
            expected, found = trailing_str(self._shape), f"{tuple(value.shape)} on {value.device}"
            problem = "the value does not fit the bounds"
            raise ShapeError(message("Bounded.project", problem, expected=expected, found=found, fix=fix)) from error

    def encode(self, value: Any) -> Tensor:
        """`value` as a tensor of the spec's dtype on its device; the bounds are not checked.

        Raises:
            ShapeError: the shape does not end in that of the spec.
        """
        return check_encoded(self, as_tensor(value, self._dtype, self._device))

    def cardinality(self) -> int | float:
        """Product over the elements of how many integers each can be; infinite for floating-point dtypes."""
        if self._dtype.is_floating_point or self.is_dynamic:
            return math.inf
        low, high = self._box.low.flatten().tolist(), self._box.high.flatten().tolist()
        return math.prod(int(h) - int(lo) + 1 for lo, h in zip(low, high, strict=True))

    def enumerate(self, *, use_mask: bool = False) -> Tensor:
        """Every combination of integers, `[cardinality, *shape]`, the last element changing fastest.

        Raises:
            SpecError: the dtype is floating-point, or there are too many.
        """
        if self._dtype.is_floating_point:
            refused: Tensor = super().enumerate(use_mask=use_mask)  # says why not
            return refused
        check_listable("Bounded.enumerate", self.cardinality(), self.numel())
        bounds = zip(self._box.low.flatten().tolist(), self._box.high.flatten().tolist(), strict=True)
        columns = [torch.arange(int(low), int(high) + 1, device=self._device) for low, high in bounds]
        if not columns:
            return self.zero((1,))
        values: Tensor = torch.stack(torch.meshgrid(*columns, indexing="ij"), -1).to(self._dtype)
        return values.reshape(-1, *self._shape)

    def _valid(self, value: Tensor) -> Tensor:
        return (value >= self._box.low) & (value <= self._box.high)

    def _domain_str(self) -> str:
        return f"low={bound_str(self._box.low)}, high={bound_str(self._box.high)}"

    def _combine(self, others: Sequence["Bounded"], op: ShapeOp) -> "Bounded":
        for other in others:
            if not self._same_elements(other):
                raise SpecError(message("Bounded", "dtypes or devices differ", expected=self, found=other))
        lows, highs = [self.low, *(other.low for other in others)], [self.high, *(other.high for other in others)]
        low, high = _common_number(lows), _common_number(highs)
        if low is None or high is None:
            low, high = op(lows), op(highs)
        else:
            size = op([dummy(bound.shape, self._device) for bound in lows]).shape
            low, high = low.expand(size), high.expand(size)
        out = self._with_box(low, high)
        if any(spec.is_dynamic for spec in (self, *others)):
            out._shape = moved_size([spec.shape for spec in (self, *others)], self._device, op)
        out._is_finite = all(spec._is_finite for spec in (self, *others))
        out._has_finite_width = all(spec._has_finite_width for spec in (self, *others))
        return out

    def _convert(self, device: torch.device | None, dtype: torch.dtype | None) -> "Bounded":
        other = self if dtype is None else Bounded(self.low, self.high, self._shape, self._device, dtype)
        if device is None:
            return other
        moved = other._with_box(other.low.to(device), other.high.to(device))
        moved._shape = self._shape
        return moved

    def _with_box(self, low: Tensor, high: Tensor) -> "Bounded":
        """The spec with bounds that need no check, since they are bounds of this spec moved elsewhere."""
        out = copy.copy(self)
        out._shape, out._device, out._box = low.shape, low.device, ContinuousBox(low, high)
        return out

    def _reshaped(self, shape: Size) -> "Bounded":
        return Bounded(self.low, self.high, shape, self._device, self._dtype)


def _check_dtype(dtype: object) -> None:
    if not isinstance(dtype, torch.dtype):
        return  # the base class says what is wrong with it
    if dtype == torch.bool:
        expected = "a dtype of numbers"
        fix = "Use Binary(shape=..., dtype=torch.bool) or Categorical(2, dtype=torch.bool)"
        raise DTypeError(message("Bounded", "truth values have no bounds", expected=expected, found="bool", fix=fix))
    if dtype in _UNSUPPORTED or dtype.is_complex:
        problem, expected = "the dtype cannot be compared in torch", "an integer or floating-point dtype"
        fix = "Use int64 or a floating-point dtype"
        raise DTypeError(message("Bounded", problem, expected=expected, found=dtype_str(dtype), fix=fix))


def _common_shape(low: Bound, high: Bound) -> Size:
    shapes = [tuple(b.shape) if isinstance(b, (Tensor, np.ndarray)) else np.shape(b) for b in (low, high)]
    try:
        return Size(np.broadcast_shapes(*shapes))
    except ValueError as error:
        found = f"{shapes[0]} and {shapes[1]}"
        raise ShapeError(
            message("Bounded", "low and high differ in shape", expected="one shape", found=found)
        ) from error


def _as_bound(bound: Bound, shape: Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    exact = as_tensor(bound if isinstance(bound, Tensor) else np.asarray(bound), None, device)
    if not dtype.is_floating_point:
        _check_holds(exact, dtype)
    try:
        return exact.to(dtype).expand(shape)
    except RuntimeError as error:
        found = tuple(exact.shape)
        problem = "a bound does not broadcast to the shape"
        raise ShapeError(message("Bounded", problem, expected=tuple(shape), found=found)) from error


def _common_number(bounds: Sequence[Tensor]) -> Tensor | None:
    """The number, without dimensions, that expanded tensors hold everywhere; None where they hold more than one."""
    for bound in bounds:
        if bound.numel() == 0 or any(step and size > 1 for step, size in zip(bound.stride(), bound.shape, strict=True)):
            return None
    first, *others = (bound[(0,) * bound.ndim] for bound in bounds)
    if others and (first.device.type == "meta" or not all(torch.equal(first, other) for other in others)):
        return None
    return first


def _check_holds(bound: Tensor, dtype: torch.dtype) -> None:
    info = torch.iinfo(dtype)
    wide = bound.to(torch.float64)
    if not bool(((wide >= info.min) & (wide <= info.max)).all()):
        problem = f"a bound cannot be held as {dtype_str(dtype)}"
        fix = "Use finite bounds inside the dtype, Unbounded, or another dtype"
        raise DTypeError(message("Bounded", problem, found=bound_str(bound), fix=fix))
