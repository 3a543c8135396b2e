"""Values of one of several specs."""

import copy
from collections.abc import Sequence
from typing import Any, final

import torch
from tensordict import NonTensorData
from torch import Generator, Size, Tensor

from rl_specs._base import TensorSpec
from rl_specs._choice_values import (
    as_choice,
    distances,
    holds,
    nearest,
    nested_stack,
    picked,
    places,
    same_form,
    shape_of,
    valid_places,
)
from rl_specs._leaf import LeafSpec
from rl_specs._listing import check_listable
from rl_specs._shape_ops import ShapeOp, SizeLike, as_size, readable, shape_fits, trailing_str, varying_dims
from rl_specs.difference import Difference
from rl_specs.errors import ShapeError, SpecError, message
from rl_specs.keys import NestedKey
from rl_specs.non_tensor import NonTensor
from rl_specs.stacked import Stacked


@final
class Choice(TensorSpec):
    """A value of one of several specs of the same form.

    Dimensions that come in front by `expand`, `unsqueeze` or stacking are places that choose on their own, so that in a
    batch of environments each makes its choice. An operation that would mix the places with the dimensions of the given
    specs is an error.

    Args:
        choices: specs of one kind, shape, dtype and device (with entries of the same form, where they have entries).
            A `NonTensorData`, or a `NonTensor`, stands for its object alone.
    Raises:
        SpecError: the choices are of different forms, or there is none.
    """

    def __init__(self, choices: Sequence[TensorSpec | NonTensorData]) -> None:
        specs = [as_choice(choice) for choice in choices]
        if not specs:
            raise SpecError(message("Choice", "no choices given", fix="Give at least one spec"))
        for i, spec in enumerate(specs):
            if -1 in spec.shape:
                problem, found = f"values of choice {i} are of different shapes", tuple(spec.shape)
                raise SpecError(message("Choice", problem, found=found, fix="Give specs of tensors or TensorDicts"))
            if not same_form(specs[0], spec):
                problem, fix = f"choice {i} differs from choice 0 in form", "Give specs of one kind, shape and dtype"
                raise SpecError(message("Choice", problem, expected=specs[0], found=spec, fix=fix))
        super().__init__(specs[0].shape, specs[0].device)
        self._choices = tuple(specs)
        self._places = Size()

    @property
    def choices(self) -> tuple[Any, ...]:
        """The specs to choose from, without the dimensions that choose on their own."""
        return self._choices

    @property
    def dtype(self) -> torch.dtype | None:
        """Dtype of the choices."""
        return self._choices[0].dtype

    @property
    def space(self) -> tuple[Any, ...]:
        """The spaces of the choices."""
        return tuple(choice.space for choice in self._choices)

    @property
    def _is_of_leaves(self) -> bool:
        return all(isinstance(choice, LeafSpec) for choice in self._choices)

    def rand(self, shape: SizeLike = (), *, generator: Generator | None = None) -> Any:
        """A random value of a choice drawn uniformly, for each place another draw."""
        lead = as_size(shape) + self._places
        which = torch.randint(len(self._choices), lead, generator=generator, device=self._device)
        if self._is_of_leaves:
            return picked([choice.rand(lead, generator=generator) for choice in self._choices], which)
        if lead.numel() == 0:
            return self._choices[0].rand(lead, generator=generator)
        return nested_stack([self._choices[i].rand(generator=generator) for i in which.flatten().tolist()], lead)

    def zero(self, shape: SizeLike = ()) -> Any:
        """Zeros of the first choice."""
        return self._choices[0].zero(as_size(shape) + self._places)

    def one(self, shape: SizeLike = ()) -> Any:
        """Ones of the first choice."""
        return self._choices[0].one(as_size(shape) + self._places)

    def project(self, value: Any) -> Any:
        """At each place, of the projections into the choices the one nearest to `value` (the first of equal ones).

        Raises:
            ShapeError: the shape does not end in that of the spec.
        """
        lead = self._lead_of(value, None)
        if lead is None:
            expected = trailing_str(self._shape)
            raise ShapeError(message("Choice.project", "another form", expected=expected, found=type(value).__name__))
        if isinstance(value, Tensor) and self._is_of_leaves:
            projected = [choice.project(value) for choice in self._choices]
            gaps = torch.stack([distances(value, candidate, len(lead)) for candidate in projected])
            return picked(projected, gaps.argmin(0))
        rows = places(value, len(lead))
        return nested_stack([nearest(self._choices, row) for row in rows], lead) if rows else value

    def encode(self, value: Any) -> Any:
        """`value` as the first choice that then holds it encodes it; as the first that can, where none holds it.

        A list, one part for each place, is encoded place by place.
        """
        if isinstance(value, (list, tuple)) and len(self._places) > 0 and len(value) == self._places[0]:
            return torch.stack([self.index(0).encode(part) for part in value])
        encoded: list[Any] = []
        errors: list[Exception] = []
        for choice in self._choices:
            try:
                encoded.append(choice.expand(*self._shape).encode(value))
            except (SpecError, ShapeError) as error:
                errors.append(error)
                continue
            if self._matches(encoded[-1], None):
                return encoded[-1]
        if not encoded:
            raise errors[0]
        return encoded[0]

    def to_numpy(self, value: Any) -> Any:
        """`value` as the first choice that holds it gives it; where none holds all of it, a list place by place."""
        lead = self._lead_of(value, None)
        holders = [choice for choice in self._choices if lead is not None and holds(choice, value, lead)]
        if lead and not holders:
            rest = self if len(lead) > len(self._places) else self.index(0)
            return [rest.to_numpy(part) for part in value.unbind(0)]
        return (holders or self._choices)[0].to_numpy(value)

    def cardinality(self) -> int | float:
        """Sum over the choices, a value that several have counted for each; an object counts as one."""
        return sum(1 if isinstance(choice, NonTensor) else choice.cardinality() for choice in self._choices)

    def enumerate(self, *, use_mask: bool = False) -> Any:
        """Every value of the first choice, then of the next, `[cardinality, *shape]`, all places at one value.

        Args:
            use_mask: leave out what masks of categories rule out.
        Raises:
            SpecError: the values of a choice cannot be listed, or are too many.
        """
        check_listable("Choice.enumerate", self.cardinality(), self.numel())
        if isinstance(self._choices[0], NonTensor):
            values = nested_stack([choice.rand() for choice in self._choices], Size((len(self._choices),)))
        else:
            values = torch.cat([choice.enumerate(use_mask=use_mask) for choice in self._choices])
        if not self._places:
            return values
        count, size = len(values), self._choices[0].shape
        return values.reshape(count, *[1] * len(self._places), *size).expand(count, *self._places, *size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and self._places == other._places and self._choices == other._choices

    def __hash__(self) -> int:
        return hash(("Choice", self._places, self._choices))

    def __repr__(self) -> str:
        lines = [f"Choice(shape={tuple(self._shape)}, places={tuple(self._places)}, device={self._device})"]
        for i, choice in enumerate(self._choices):
            first, *rest = repr(choice).splitlines()
            lines += [f"    {i}: {first}", *(f"    {line}" for line in rest)]
        return "\n".join(lines)

    # -- for the base class -------------------------------------------------------------------------------------

    def _lead_of(self, value: Any, lead: Size | None) -> Size | None:
        """Dimensions of `value` in front of those of the choices; `None` when it is of another form."""
        found = shape_of(value)
        if found is None:
            return (Size() if lead is None else lead) + self._places
        front = found[: max(0, len(found) - self._choices[0].ndim)]
        return front if shape_fits(front, self._places, lead) else None

    def _matches(self, value: Any, lead: Size | None) -> bool:
        front = self._lead_of(value, lead)
        if front is None:
            return False
        if any(holds(choice, value, front) for choice in self._choices):
            return True
        if not front or self._form_differences(value, None, front):
            return False
        if isinstance(value, Tensor) and self._is_of_leaves:
            valid = [valid_places(choice, value, len(front)) for choice in self._choices]
            return bool(torch.stack(valid).any(0).all())
        return all(any(holds(choice, row, Size()) for choice in self._choices) for row in places(value, len(front)))

    def _differences(self, value: Any, key: NestedKey | None, lead: Size | None) -> list[Difference]:
        front = self._lead_of(value, lead)
        if front is None:
            size = shape_of(value)
            return [Difference(key, "shape", trailing_str(self._shape), str(None if size is None else tuple(size)))]
        if self._matches(value, lead):
            return []
        choices = " or ".join(repr(choice).splitlines()[0] for choice in self._choices)
        return self._form_differences(value, key, front) or [Difference(key, "domain", choices, "a value of none")]

    def _form_differences(self, value: Any, key: NestedKey | None, lead: Size) -> list[Difference]:
        return [d for d in self._choices[0]._differences(value, key, lead) if d.aspect != "domain"]

    def _combine(self, others: Sequence["Choice"], op: ShapeOp) -> "Choice":
        specs = [self, *others]
        for other in others:
            if other._choices != self._choices:
                expected, found = list(self._choices), list(other._choices)
                fix = "Stack specs with equal choices"
                raise SpecError(message("Choice", "the choices differ", expected=expected, found=found, fix=fix))
        size, device = self._choices[0].shape, readable(self._device)
        counts = [spec._places.numel() for spec in specs]
        numbers = torch.functional.split(torch.arange(sum(counts), device=device), counts)
        forms = [(*spec._places, *[1] * len(size)) for spec in specs]
        place = op([row.reshape(form).expand(s.shape) for row, form, s in zip(numbers, forms, specs, strict=True)])
        inner = op([torch.arange(size.numel(), device=device).reshape(size).expand(spec.shape) for spec in specs])
        least = max(varying_dims(place), default=-1) + 1
        most = min(varying_dims(inner), default=inner.ndim)
        if least > most:
            problem = f"the operation mixes the places {tuple(self._places)} with values of the shape {tuple(size)}"
            fix = "Operate on the places, or on the dimensions of the choices"
            raise ShapeError(message("Choice", problem, fix=fix))
        cut = min(max(inner.ndim - len(size), least), most)
        return self._moved(others, op, inner.shape[:cut])

    def _moved(self, others: Sequence["Choice"], op: ShapeOp, new_places: Size) -> "Choice":
        """The choices after `op`, in front of which `new_places` then choose on their own."""
        moved = []
        for choice in self._choices:
            whole = [choice.expand(*spec.shape) for spec in (self, *others)]
            after = whole[0]._combine(whole[1:], op)
            moved.append(after.index((0,) * len(new_places)) if new_places.numel() else choice)
        return self._with(moved, new_places)

    def _with(self, choices: Sequence[TensorSpec], new_places: Size) -> "Choice":
        out = copy.copy(self)
        out._choices, out._places = tuple(choices), new_places
        out._shape, out._device = new_places + out._choices[0].shape, out._choices[0].device
        return out

    def _convert(self, device: torch.device | None, dtype: torch.dtype | None) -> "Choice":
        return self._with([choice._convert(device, dtype) for choice in self._choices], self._places)

    def _stack_lazily(self, others: Sequence[Any], dim: int) -> TensorSpec:
        return Stacked(self, *others, dim=dim)
