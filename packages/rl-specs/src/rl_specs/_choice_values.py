"""What `Choice` does with values: which choice holds which place, and which projection is nearest."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tensordict import NonTensorData, NonTensorStack, TensorDictBase, is_tensor_collection
from torch import Size, Tensor

from rl_specs._base import TensorSpec
from rl_specs._keyed import KeyedSpec
from rl_specs._lazy_stack import LazyStack
from rl_specs._leaf import LeafSpec
from rl_specs._tree import read, walk
from rl_specs.errors import SpecError, message
from rl_specs.non_tensor import NonTensor


def as_choice(choice: Any) -> TensorSpec:
    """A choice as a spec of its own, which later changes of the one given do not reach.

    Raises:
        SpecError: it is neither a spec nor `NonTensorData`.
    """
    if isinstance(choice, NonTensorData):
        return NonTensor(choice.batch_size, choice.device, example_data=choice.data)
    if not isinstance(choice, TensorSpec):
        expected, fix = "a spec or NonTensorData", "Wrap an object as NonTensorData(object)"
        raise SpecError(message("Choice", "a choice is no spec", expected=expected, found=repr(choice), fix=fix))
    return choice._owned()


def same_form(a: TensorSpec, b: TensorSpec) -> bool:
    """Whether values of two specs are alike but for their domains."""
    if (type(a), a.shape, a.dtype, a.device) != (type(b), b.shape, b.dtype, b.device):
        return False
    if isinstance(a, LazyStack) and isinstance(b, LazyStack):
        pairs = zip(a.specs, b.specs, strict=True)
        return a.stack_dim == b.stack_dim and all(same_form(one, other) for one, other in pairs)
    if isinstance(a, KeyedSpec) and isinstance(b, KeyedSpec):
        return set(a.keys()) == set(b.keys()) and all(same_form(spec, b.get(key)) for key, spec in a.items())
    return True


def shape_of(value: Any) -> Size | None:
    """Shape of a tensor, batch shape of a TensorDict or of `NonTensorData`; `None` for anything else."""
    if isinstance(value, Tensor):
        return value.shape
    return Size(value.batch_size) if is_tensor_collection(value) else None


def holds(choice: TensorSpec, value: Any, lead: Size) -> bool:
    """Whether the whole of `value` is of `choice`, with `lead` in front; a `NonTensor` holds its example alone."""
    is_member = choice._matches(value, lead)
    return is_member and (not isinstance(choice, NonTensor) or _is_object(value, choice.example_data))


def _is_object(value: Any, expected: Any) -> bool:
    """Whether `value`, or all that it is a stack of, equals an object."""
    if isinstance(value, NonTensorStack):
        return all(_is_object(part, expected) for part in value.unbind(0))
    found = value.data if isinstance(value, NonTensorData) else value
    return bool(found == expected)


def valid_places(choice: TensorSpec, value: Tensor, k: int) -> Tensor:
    """Mask of the first `k` dimensions of `value`, of the right form: which places are of `choice`."""
    assert isinstance(choice, LeafSpec)
    valid = choice._valid(value)
    return valid.flatten(k).all(-1) if valid.ndim > k else valid.expand(value.shape[:k])


def picked(values: Sequence[Tensor], which: Tensor) -> Tensor:
    """At every place of `which` `[*B]` the one of `values` `[*B, *E]` with that number."""
    chosen = values[0]
    index = which.reshape((*which.shape, *[1] * (chosen.ndim - which.ndim)))
    for i, value in enumerate(values[1:], start=1):
        chosen = torch.where(index == i, value, chosen)
    return chosen


def places(value: Any, k: int) -> list[Any]:
    """The parts of `value` along its first `k` dimensions, in a row."""
    rows = [value]
    for _ in range(k):
        rows = [part for row in rows for part in row.unbind(0)]
    return rows


def nested_stack(rows: Sequence[Any], lead: Size) -> Any:
    """The inverse of `places`: rows stacked to dimensions `lead`."""
    if not lead:
        return rows[0]
    step = len(rows) // lead[0]
    return torch.stack([nested_stack(rows[i : i + step], lead[1:]) for i in range(0, len(rows), step)])


def nearest(choices: Sequence[TensorSpec], value: Any) -> Any:
    """Of the projections of `value` into the choices the one that changes it least."""
    if isinstance(choices[0], NonTensor):
        return value if any(holds(choice, value, Size()) for choice in choices) else choices[0].rand()
    return min((choice.project(value) for choice in choices), key=lambda projected: _gap(value, projected))


def distances(value: Tensor, projected: Tensor, k: int) -> Tensor:
    """Sum of the absolute changes at every place of the first `k` dimensions; -1 where nothing changed."""
    wide = torch.complex128 if value.is_complex() else torch.float64
    gap = (value.to(wide) - projected.to(wide)).abs().nan_to_num(nan=math.inf, posinf=math.inf)
    is_same = value == projected
    if gap.ndim > k:
        gap, is_same = gap.flatten(k).sum(-1), is_same.flatten(k).all(-1)
    return gap.masked_fill(is_same, -1.0)


def _gap(value: Any, projected: Any) -> float:
    if isinstance(projected, Tensor):
        return max(0.0, float(distances(value, projected, 0)))
    if isinstance(projected, (TensorDictBase, Mapping)) and not isinstance(projected, NonTensorData):
        return sum(_gap(read(value, key), read(projected, key)) for key in walk(projected))
    return 0.0
