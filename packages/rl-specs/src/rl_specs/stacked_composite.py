"""TensorDicts with different entries, side by side."""

from collections.abc import Sequence
from typing import Any, final

from tensordict import LazyStackedTensorDict, NonTensorData, TensorDictBase
from torch import Size

from rl_specs._base import TensorSpec, stack_specs
from rl_specs._keyed import KeyedSpec
from rl_specs._lazy_stack import LazyStack
from rl_specs._shape_ops import SizeLike, as_size, shape_fits, trailing_str
from rl_specs._tree import path_of
from rl_specs.errors import ShapeError, SpecError, message, missing_key
from rl_specs.keys import NestedKey, canonical_key


@final
class StackedComposite(LazyStack, KeyedSpec):
    """`Composite`s of one batch shape, stacked though their entries differ in keys, shapes or domains.

    A value is a `LazyStackedTensorDict`, such as the observations of agents of different kinds. As there, the keys are
    those that all the stacked specs have, and an entry is the stack of theirs: a spec of one tensor where they agree, a
    `Stacked` or a `StackedComposite` where they do not. Within a `Composite` it counts as one entry, and
    `composite["agents", "observation"]` reaches into it. `torch.stack` of specs that differ makes one.

    Args:
        specs: `Composite`s or `StackedComposite`s, all of one batch shape and device.
        dim: where the new dimension goes.
    Raises:
        SpecError: one is of another kind, or there is none.
        ShapeError: batch shapes differ.
    """

    # -- items --------------------------------------------------------------------------------------------------

    def get(self, key: NestedKey, default: TensorSpec | None = None) -> Any:
        """Spec of the stack of the entries under `key`, or `default` where not all have one.

        Raises:
            SpecError: the entries are of different kinds.
        """
        found = [spec.get(key) for spec in self.specs]
        return default if any(spec is None for spec in found) else stack_specs(found, self._dim)

    def set(self, key: NestedKey, spec: Any) -> None:
        """Put the specs along the stack's dimension of `spec` under `key` of the stacked specs.

        Raises:
            ShapeError: its shape does not start with the batch shape.
            TypeError: it is no spec.
        """
        component = f"StackedComposite: entry {canonical_key(key)!r}"
        if not isinstance(spec, TensorSpec):
            raise TypeError(message(component, "not a spec", found=repr(spec)))
        if spec.shape[: self.ndim] != self._shape:
            problem, expected = "shape does not start with the batch shape", trailing_str(self._shape)
            raise ShapeError(message(component, problem, expected=expected, found=tuple(spec.shape)))
        changed = [part.clone() for part in self.specs]
        for part, entry in zip(changed, spec.unbind(self._dim), strict=True):
            part.set(key, entry)
        self._specs = tuple(changed)

    def keys(self, include_nested: bool = False, leaves_only: bool = False) -> list[NestedKey]:
        """Keys that all the stacked specs have, in the order of the first.

        Args:
            include_nested: go into nested specs, whose keys are tuples.
            leaves_only: leave out nested specs themselves.
        """
        first, *rest = (spec.keys(include_nested, leaves_only) for spec in self.specs)
        return [key for key in first if all(key in other for other in rest)]

    def items(self, include_nested: bool = False, leaves_only: bool = False) -> list[tuple[NestedKey, Any]]:
        """Pairs of key and spec in the order of `keys`."""
        return [(key, self.get(key)) for key in self.keys(include_nested, leaves_only)]

    def flat_items(self) -> list[tuple[NestedKey, Any]]:
        """Pairs of canonical key and leaf spec, at all levels, of the entries that all the stacked specs have."""
        return [(canonical_key(key), self.get(key)) for key in self.keys(include_nested=True, leaves_only=True)]

    def __delitem__(self, key: NestedKey) -> None:
        if any(spec.get(key) is None for spec in self.specs):
            fix = "Use a key that all the stacked specs have"
            raise missing_key("StackedComposite", canonical_key(path_of(key)), self.keys(True), fix=fix)
        for spec in self.specs:
            del spec[key]

    # -- for the base class -------------------------------------------------------------------------------------

    def _check_parts(self, specs: Sequence[TensorSpec]) -> None:
        for i, spec in enumerate(specs):
            if not isinstance(spec, KeyedSpec):
                problem, fix = f"spec {i} has no entries", "Stack specs of tensors with torch.stack, or as Stacked"
                raise SpecError(message("StackedComposite", problem, found=type(spec).__name__, fix=fix))
            if spec.shape != specs[0].shape:
                problem, fix = f"the batch shape of spec {i} differs from that of spec 0", "Expand it, or reshape it"
                expected, found = tuple(specs[0].shape), tuple(spec.shape)
                raise ShapeError(message("StackedComposite", problem, expected=expected, found=found, fix=fix))

    def _joined(self, values: list[Any], lead: SizeLike) -> LazyStackedTensorDict:
        return LazyStackedTensorDict(*values, stack_dim=len(as_size(lead)) + self._dim)

    def _split(self, value: Any, lead: Size | None) -> tuple[list[Any], Size] | None:
        if not isinstance(value, TensorDictBase) or isinstance(value, NonTensorData):
            return None
        size = value.batch_size
        if not shape_fits(size, self._shape, lead):
            return None
        front = size[: len(size) - self.ndim]
        return list(value.unbind(len(front) + self._dim)), front

    def _form_str(self) -> str:
        return f"TensorDict of shape {trailing_str(self._shape)}"
