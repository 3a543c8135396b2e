"""Specs side by side along one dimension that no single spec describes."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Generator, Size, Tensor

from rl_specs._base import TensorSpec
from rl_specs._listing import all_rows, check_listable
from rl_specs._shape_ops import (
    ShapeOp,
    SizeLike,
    check_dim,
    full_index,
    is_whole,
    readable,
    split_index,
    varying_dims,
)
from rl_specs.difference import Difference
from rl_specs.errors import ShapeError, SpecError, message
from rl_specs.keys import NestedKey, join_key


class LazyStack(TensorSpec):
    """Specs of one class stacked along a dimension, each kept as it is. Abstract: subclasses say what a value is.

    A shape operation moves places of the stacked specs as it moves places of their values. Where it leaves places of
    one of them only, the result is a spec of that one's kind.
    """

    def __init__(self, *specs: TensorSpec, dim: int) -> None:
        component = type(self).__name__
        if not specs:
            raise SpecError(message(component, "no specs given", fix="Give at least one"))
        self._check_parts(specs)
        first = specs[0]
        for i, spec in enumerate(specs):
            if (type(spec), spec.dtype, spec.device, spec.ndim) != (type(first), first.dtype, first.device, first.ndim):
                problem = f"spec {i} differs from spec 0 in kind, dtype, device or number of dimensions"
                fix = "Convert it with spec.to(...), or unsqueeze it"
                expected, found = (repr(part).splitlines()[0] for part in (first, spec))
                raise SpecError(message(component, problem, expected=expected, found=found, fix=fix))
        self._dim = check_dim(dim, first.ndim + 1, component)
        sizes = [size[0] if len(set(size)) == 1 else -1 for size in zip(*(spec.shape for spec in specs), strict=True)]
        if -1 in sizes[: self._dim]:
            problem = "sizes differ in front of the dimension of the stack"
            shapes = [tuple(spec.shape) for spec in specs]
            fix = "Stack along a dimension in front of those that differ, such as 0"
            raise ShapeError(message(component, problem, found=f"dim={self._dim} and the shapes {shapes}", fix=fix))
        super().__init__(Size([*sizes[: self._dim], len(specs), *sizes[self._dim :]]), first.device)
        self._specs = tuple(spec._owned() for spec in specs)

    @property
    def specs(self) -> tuple[Any, ...]:
        """The stacked specs."""
        return self._specs

    @property
    def stack_dim(self) -> int:
        """The dimension along which they are stacked."""
        return self._dim

    @property
    def is_dynamic(self) -> bool:
        """Whether a size of one of the stacked specs is open."""
        return any(spec.is_dynamic for spec in self._specs)

    def numel(self) -> int:
        """Number of elements of all the shapes."""
        return sum(spec.numel() for spec in self._specs)

    # -- values -------------------------------------------------------------------------------------------------

    def rand(self, shape: SizeLike = (), *, generator: Generator | None = None) -> Any:
        """Random values of the stacked specs with dimensions `shape` in front, joined."""
        return self._joined([spec.rand(shape, generator=generator) for spec in self._specs], shape)

    def zero(self, shape: SizeLike = ()) -> Any:
        """Zeros of the stacked specs with dimensions `shape` in front, joined."""
        return self._joined([spec.zero(shape) for spec in self._specs], shape)

    def one(self, shape: SizeLike = ()) -> Any:
        """Ones of the stacked specs with dimensions `shape` in front, joined."""
        return self._joined([spec.one(shape) for spec in self._specs], shape)

    def project(self, value: Any) -> Any:
        """Each part of `value` projected into the spec it belongs to.

        Raises:
            ShapeError: `value` does not have the form of the spec.
        """
        split = self._split(value, None)
        if split is None:
            component, fix = f"{type(self).__name__}.project", "Pass one part for each of the stacked specs"
            expected, found = self._form_str(), _form_of(value)
            raise ShapeError(message(component, "another form", expected=expected, found=found, fix=fix))
        parts, lead = split
        return self._joined([spec.project(part) for spec, part in zip(self._specs, parts, strict=True)], lead)

    def encode(self, value: Any) -> Any:
        """A value from a list of parts, one for each stacked spec, or from one array that has the stack's dimension.

        Raises:
            ShapeError: there are more or fewer parts than specs.
        """
        parts = list(value) if isinstance(value, (list, tuple)) else self._slices(value)
        if len(parts) != len(self._specs):
            component, found = f"{type(self).__name__}.encode", f"{len(parts)}"
            raise ShapeError(message(component, "number of parts", expected=len(self._specs), found=found))
        return self._joined([spec.encode(part) for spec, part in zip(self._specs, parts, strict=True)], ())

    def to_numpy(self, value: Any) -> list[Any]:
        """What the stacked specs make of their parts of `value`, in a list."""
        split = self._split(value, None)
        if split is None:
            component, expected = f"{type(self).__name__}.to_numpy", self._form_str()
            raise ShapeError(message(component, "another form", expected=expected, found=_form_of(value)))
        return [spec.to_numpy(part) for spec, part in zip(self._specs, split[0], strict=True)]

    def cardinality(self) -> int | float:
        """Product over the stacked specs."""
        return math.prod(spec.cardinality() for spec in self._specs)

    def enumerate(self, *, use_mask: bool = False) -> Any:
        """Every combination of the stacked specs' values, with one dimension in front, the last changing fastest.

        Args:
            use_mask: leave out what masks of categories rule out.
        Raises:
            SpecError: the values of one of them cannot be listed, or there are too many combinations.
        """
        values = [spec.enumerate(use_mask=use_mask) for spec in self._specs]
        counts = [_length(value) for value in values]
        check_listable(f"{type(self).__name__}.enumerate", math.prod(counts), self.numel())
        rows = all_rows(counts, self._device)
        return self._joined([_taken(v, row) for v, row in zip(values, rows, strict=True)], (math.prod(counts),))

    def clone(self) -> Any:
        """A copy."""
        return type(self)(*self._specs, dim=self._dim)

    def index(self, index: Any) -> Any:
        """The spec of `value[index]`; one of the stacked kind where that is a part of one value.

        Integers, slices and `None` reach the dimensions from the first -1 on, each part's own.
        """
        full = full_index(index, self.ndim, type(self).__name__)
        ahead, behind = split_index(full, self._front)
        if is_whole(behind) or any(isinstance(part, Tensor) for part in behind):
            return super().index(index)
        inner = (*(slice(None),) * (self._front - 1), *behind)
        return type(self)(*(spec.index(inner) for spec in self._specs), dim=self._dim).index(ahead)

    def _owned(self) -> Any:
        return self.clone()

    def unbind(self, dim: int = 0) -> tuple[Any, ...]:
        """The specs along dimension `dim`: the stacked ones along `stack_dim`."""
        is_stack_dim = check_dim(dim, self.ndim, type(self).__name__) == self._dim
        return self._specs if is_stack_dim else super().unbind(dim)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LazyStack) or type(other) is not type(self):
            return False
        return self._dim == other._dim and self._specs == other._specs

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._dim, self._specs))

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__}(shape={tuple(self._shape)}, dim={self._dim}, device={self._device})"]
        for i, spec in enumerate(self._specs):
            first, *rest = repr(spec).splitlines()
            lines += [f"    {i}: {first}", *(f"    {line}" for line in rest)]
        return "\n".join(lines)

    # -- what a subclass writes ---------------------------------------------------------------------------------

    @abstractmethod
    def _check_parts(self, specs: Sequence[TensorSpec]) -> None:
        """Check that specs are of a sort that this class stacks.

        Raises:
            SpecError: one is not.
        """

    @abstractmethod
    def _joined(self, values: list[Any], lead: SizeLike) -> Any:
        """One value from those of the stacked specs, which have dimensions `lead` in front."""

    @abstractmethod
    def _split(self, value: Any, lead: Size | None) -> tuple[list[Any], Size] | None:
        """The parts of `value` and the dimensions in front; `None` when it is of another form.

        Args:
            value: anything.
            lead: dimensions in front that there must be; any, when `None`.
        """

    @abstractmethod
    def _form_str(self) -> str:
        """The form of a value in a few words."""

    # -- for the base class -------------------------------------------------------------------------------------

    def _matches(self, value: Any, lead: Size | None) -> bool:
        split = self._split(value, lead)
        if split is None:
            return False
        return all(spec._matches(part, split[1]) for spec, part in zip(self._specs, split[0], strict=True))

    def _differences(self, value: Any, key: NestedKey | None, lead: Size | None) -> list[Difference]:
        split = self._split(value, lead)
        if split is None:
            return [Difference(key, "shape", self._form_str(), _form_of(value))]
        found: list[Difference] = []
        for i, (spec, part) in enumerate(zip(self._specs, split[0], strict=True)):
            found += spec._differences(part, part_key(key, i), split[1])
        return found

    def _slices(self, value: Any) -> list[Any]:
        if isinstance(value, np.ndarray):
            return list(np.moveaxis(value, self._dim, 0))
        if isinstance(value, (Tensor, TensorDictBase)):
            return list(value.unbind(self._dim))
        expected = "a list of parts, an array, a tensor or a TensorDict"
        raise SpecError(message(f"{type(self).__name__}.encode", "type", expected=expected, found=_form_of(value)))

    def _combine(self, others: Sequence[Any], op: ShapeOp) -> Any:
        parts, layouts = list(self._specs), [self._layout(list(range(len(self._specs))))]
        for other in others:
            numbers = []
            for i, spec in enumerate(other._specs):
                is_same = i < len(self._specs) and spec == self._specs[i]
                numbers.append(i if is_same else len(parts))
                parts += [] if is_same else [spec]
            layouts.append(other._layout(numbers))
        owner, place = (op(list(kind)) for kind in zip(*layouts, strict=True))
        if not owner.numel() and not others and owner.shape == self._shape[: self._front]:
            return self.clone()  # without places nothing else tells which specs these were
        return self._rebuilt(parts, owner, place, varying_dims(owner))

    def _rebuilt(self, parts: Sequence[TensorSpec], owner: Tensor, place: Tensor, along: Sequence[int]) -> TensorSpec:
        """The spec of those places of `parts` whose numbers `owner` (which part) and `place` (of its places) hold.

        Args:
            parts: specs.
            owner: `[*B]`, the same along all dimensions but `along`.
            place: `[*B]`.
            along: dimensions, ascending.
        """
        if not along:
            return self._placed(parts[int(owner.flatten()[0]) if owner.numel() else 0], place)
        at, rest = along[0], [dim - 1 for dim in along[1:]]
        pairs = zip(owner.unbind(at), place.unbind(at), strict=True)
        return type(self)(*(self._rebuilt(parts, *pair, rest) for pair in pairs), dim=at)

    def _layout(self, numbers: list[int]) -> tuple[Tensor, Tensor]:
        """For every place in front: the number of its spec, and which of that spec's places in front it is."""
        front, at = self._shape[: self._front], self._dim
        device = readable(self._device)
        inner = (*front[:at], *front[at + 1 :])
        owner = torch.tensor(numbers, device=device).reshape(-1, *[1] * (len(front) - at - 1))
        place = torch.arange(math.prod(inner), device=device).reshape(inner).unsqueeze(at)
        return owner.expand(front), place.expand(front)

    def _placed(self, spec: TensorSpec, place: Tensor) -> TensorSpec:
        """The spec of those places in front of `spec`, one of the stacked ones, whose numbers are in `place`."""
        coordinates = torch.unravel_index(place, spec.shape[: self._front - 1]) if self._front > 1 else ()
        return spec.unsqueeze(0).index((torch.zeros_like(place), *coordinates))

    def _convert(self, device: torch.device | None, dtype: torch.dtype | None) -> Any:
        return type(self)(*(spec._convert(device, dtype) for spec in self._specs), dim=self._dim)

    def _stack_lazily(self, others: Sequence[Any], dim: int) -> TensorSpec:
        return type(self)(self, *others, dim=dim)


def part_key(key: NestedKey | None, i: int) -> NestedKey:
    """Name of the i-th of stacked specs in a table of differences."""
    return f"[{i}]" if key is None else join_key(key, f"[{i}]")


def _form_of(value: Any) -> str:
    if isinstance(value, (Tensor, TensorDictBase)) and not (isinstance(value, Tensor) and value.is_nested):
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, (list, tuple)) else type(value).__name__


def _length(values: Any) -> int:
    """Size of the first dimension of values of a spec, which can be a list of parts."""
    return _length(values[0]) if isinstance(values, list) else len(values)


def _taken(values: Any, rows: Tensor) -> Any:
    return [_taken(part, rows) for part in values] if isinstance(values, list) else values[rows]
