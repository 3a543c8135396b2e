"""Specs of the entries of a TensorDict, by name."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, final

import torch
from tensordict import NonTensorData, TensorDict, TensorDictBase
from torch import Generator, Size, Tensor

from rl_specs._base import TensorSpec, resolve_device
from rl_specs._keyed import KeyedSpec
from rl_specs._listing import all_rows, check_listable
from rl_specs._shape_ops import ShapeOp, SizeLike, as_size, dummy, shape_fits, trailing_str
from rl_specs._tree import copied, path_of, read, walk, write
from rl_specs._variables import VariableSpec
from rl_specs.difference import Difference
from rl_specs.errors import ShapeError, SpecError, message, missing_key, near_matches
from rl_specs.keys import NestedKey, canonical_key, join_key, key_str
from rl_specs.stacked_composite import StackedComposite

SpecTree: TypeAlias = "Mapping[Any, TensorSpec | SpecTree]"


@final
class Composite(KeyedSpec):
    """Specs by key, nested ones included, over a common batch shape.

    `Composite(a=spec)`, `Composite({"a": spec, ("n", "b"): spec, "m": {"c": spec}}, shape=(4,))`. Keys are strings or
    tuples of strings. An entry that is set is checked against the shape and moved to the device; a nested `Composite`
    is copied, so that later changes of the one given do not reach in. A leaf is held as it is: a mask that it takes on
    (`update_mask`) is that of the entry.

    Args:
        specs: entries by key; mappings become nested specs with the same batch shape.
        shape: batch shape that the shape of every entry starts with; default `()`, or that of a `Composite` given.
        device: device of all entries; `None` leaves each its own.
        entries: more entries, for keys that are Python names other than `specs`, `shape` and `device`.
    Raises:
        ShapeError: the shape of an entry does not start with `shape`, or its values are of different shapes.
        TypeError: an entry is no spec, or a key is no string or tuple of strings.
        SpecError: a nested key goes through an entry that is a leaf.
    """

    def __init__(
        self,
        specs: "SpecTree | Composite | None" = None,
        *,
        shape: SizeLike | None = None,
        device: torch.device | str | int | None = None,
        **entries: "TensorSpec | SpecTree",
    ) -> None:
        if isinstance(specs, Composite):
            shape = specs.shape if shape is None else shape
            device = specs.device if device is None else device
        super().__init__(as_size(() if shape is None else shape), None if device is None else resolve_device(device))
        if any(size < 0 for size in self._shape):
            fix = "Give the sizes; entries may have open ones behind them"
            raise ShapeError(message("Composite", "batch sizes are known", found=tuple(self._shape), fix=fix))
        self._specs: dict[str, TensorSpec] = {}
        given = {} if specs is None else dict(specs.items())
        for key, spec in [*given.items(), *entries.items()]:
            self.set(key, spec)

    # -- items --------------------------------------------------------------------------------------------------

    def get(self, key: NestedKey, default: TensorSpec | None = None) -> Any:
        """Spec under `key`, or `default`."""
        path = path_of(key)
        spec: TensorSpec | None = self
        for depth, name in enumerate(path):
            if isinstance(spec, StackedComposite):
                return spec.get(path[depth:], default)
            spec = spec._specs.get(name) if isinstance(spec, Composite) else None
        return default if spec is None else spec

    def set(self, key: NestedKey, spec: "TensorSpec | SpecTree") -> None:
        """Put `spec` under `key`, making the levels in between; see the class for what is checked."""
        path = path_of(key)
        level = self
        for depth, parent in enumerate(path[:-1]):
            inner = level._specs.get(parent)
            if inner is None:
                level._add_branch(path[depth:], key, spec)
                return
            if isinstance(inner, StackedComposite):
                inner.set(path[depth + 1 :], spec)
                return
            if not isinstance(inner, Composite):
                problem = f"cannot set {canonical_key(key)!r}: {parent!r} is a leaf"
                raise SpecError(message("Composite", problem, found=inner, fix="Delete that first or rename the key"))
            level = inner
        level._specs[path[-1]] = level._checked(key, spec)

    def _add_branch(self, path: tuple[str, ...], key: NestedKey, spec: "TensorSpec | SpecTree") -> None:
        """Put `spec` at the end of levels that are not there yet; where it does not fit, none of them is made."""
        entry = self._checked(key, spec)
        for name in reversed(path[1:]):
            level = self.empty()
            level._specs[name] = entry
            entry = level
        self._specs[path[0]] = entry

    def update(self, specs: "SpecTree | Composite") -> None:
        """Set the entries of `specs`; nested ones are merged, not replaced."""
        for key, spec in specs.items():
            present = self.get(key)
            if isinstance(present, Composite) and isinstance(spec, (Composite, Mapping)):
                present.update(spec)
            else:
                self.set(key, spec)

    def pop(self, key: NestedKey) -> Any:
        """Remove the entry under `key` and return it.

        Raises:
            MissingKeyError: there is none.
        """
        spec = self[key]
        del self[key]
        return spec

    def keys(self, include_nested: bool = False, leaves_only: bool = False) -> list[NestedKey]:
        """Keys in the order they were set.

        Args:
            include_nested: go into nested specs, whose keys are tuples.
            leaves_only: leave out nested specs themselves.
        """
        return [key for key, _ in self.items(include_nested, leaves_only)]

    def items(self, include_nested: bool = False, leaves_only: bool = False) -> list[tuple[NestedKey, Any]]:
        """Pairs of key and spec in the order of `keys`."""
        found: list[tuple[NestedKey, Any]] = []
        for name, spec in self._specs.items():
            is_inner = isinstance(spec, Composite)
            if not (is_inner and leaves_only):
                found.append((name, spec))
            if isinstance(spec, Composite) and include_nested:
                found += [(join_key(name, key), inner) for key, inner in spec.items(True, leaves_only)]
        return found

    def flat_items(self) -> list[tuple[NestedKey, TensorSpec]]:
        """Pairs of canonical key and leaf spec, at all levels."""
        return self.items(include_nested=True, leaves_only=True)

    def select(self, *keys: NestedKey, strict: bool = True) -> "Composite":
        """A spec of the entries under `keys` alone.

        Raises:
            MissingKeyError: `strict`, and one of them is not there.
        """
        chosen = self.empty()
        for key in keys:
            if strict or key in self:
                chosen.set(key, self[key])
        return chosen

    def exclude(self, *keys: NestedKey) -> "Composite":
        """A spec without the entries under `keys`; levels that become empty stay."""
        rest = self.clone()
        for key in keys:
            if key in rest:
                del rest[key]
        return rest

    def empty(self) -> "Composite":
        """A spec of the same shape and device without entries."""
        return Composite(shape=self._shape, device=self._device)

    @property
    def is_dynamic(self) -> bool:
        """Whether a size of an entry is open."""
        return any(spec.is_dynamic for spec in self._specs.values())

    def is_empty(self) -> bool:
        """Whether there is no leaf at any level."""
        return not self.flat_items()

    def __delitem__(self, key: NestedKey) -> None:
        name, *rest = path_of(key)
        self[key]
        if rest:
            del self._specs[name][tuple(rest)]  # type: ignore[attr-defined]  # a nested key leads through entries
        else:
            del self._specs[name]

    def __len__(self) -> int:
        return len(self._specs)

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    # -- values -------------------------------------------------------------------------------------------------

    def rand(self, shape: SizeLike = (), *, generator: Generator | None = None) -> TensorDict:
        """A TensorDict of random values with batch shape `[*shape, *self.shape]`."""
        return self._pack({name: spec.rand(shape, generator=generator) for name, spec in self._specs.items()}, shape)

    def zero(self, shape: SizeLike = ()) -> TensorDict:
        """A TensorDict of zeros with batch shape `[*shape, *self.shape]`."""
        return self._pack({name: spec.zero(shape) for name, spec in self._specs.items()}, shape)

    def one(self, shape: SizeLike = ()) -> TensorDict:
        """A TensorDict of ones with batch shape `[*shape, *self.shape]`."""
        return self._pack({name: spec.one(shape) for name, spec in self._specs.items()}, shape)

    def project(self, value: Any) -> Any:
        """A shallow copy of `value` (TensorDict or mapping) with the entries of the spec projected.

        Raises:
            MissingKeyError: an entry of the spec is not there.
        """
        return _mapped("Composite.project", value, self.flat_items(), lambda spec, entry: spec.project(entry))

    def to_one_hot(self, value: Any) -> Any:
        """A shallow copy of `value` (TensorDict or mapping) with all categories as one-hot vectors.

        Raises:
            MissingKeyError: an entry of categories is not there.
        """
        return self._replaced("Composite.to_one_hot", value, lambda spec, entry: spec.to_one_hot(entry))

    def to_one_hot_spec(self) -> "Composite":
        """The spec of `to_one_hot(value)`."""
        return self._respecified(lambda spec: spec.to_one_hot_spec())

    def to_categorical(self, value: Any) -> Any:
        """A shallow copy of `value` (TensorDict or mapping) with all one-hot vectors as category numbers.

        Raises:
            MissingKeyError: an entry of categories is not there.
        """
        return self._replaced("Composite.to_categorical", value, lambda spec, entry: spec.to_categorical(entry))

    def to_categorical_spec(self) -> "Composite":
        """The spec of `to_categorical(value)`."""
        return self._respecified(lambda spec: spec.to_categorical_spec())

    def encode(self, value: Any) -> TensorDict:
        """A TensorDict of batch shape `self.shape` from a (nested) mapping of numpy or Python values.

        Raises:
            MissingKeyError: an entry of the spec is not there.
            SpecError: there is an entry that the spec does not have.
        """
        encoded: dict[str, Any] = {}
        for name, spec in self._specs.items():
            entry = value.get(name, None)
            if entry is None and name not in value.keys():  # noqa: SIM118  # of a TensorDict, rows are in it
                raise missing_key(
                    "Composite.encode", name, value.keys(), fix="Give a value for every entry of the spec"
                )
            encoded[name] = spec.encode(entry)
        for name in value.keys():  # noqa: SIM118  # iterating a TensorDict gives rows
            if name not in self._specs:
                near = near_matches(str(name), self._specs)
                problem = f"no entry {name!r} in the spec (has: {', '.join(self._specs)})"
                raise SpecError(message("Composite.encode", problem) + near)
        return self._pack(encoded, ())

    def to_numpy(self, value: Any) -> dict[str, Any]:
        """Nested dicts of numpy values of the entries of the spec."""
        return {name: spec.to_numpy(value.get(name)) for name, spec in self._specs.items()}

    def cardinality(self) -> int | float:
        """Product over the entries."""
        return math.prod(spec.cardinality() for spec in self._specs.values())

    def enumerate(self, *, use_mask: bool = False) -> TensorDict:
        """Every combination of the entries' values, batch shape `[cardinality, *shape]`, the last changing fastest.

        Args:
            use_mask: leave out what masks of categories rule out.
        Raises:
            SpecError: an entry's values cannot be listed, or there are too many combinations.
        """
        values = {name: spec.enumerate(use_mask=use_mask) for name, spec in self._specs.items()}
        counts = [len(value) for value in values.values()]
        elements = sum(spec.numel() for _, spec in self.flat_items())
        check_listable("Composite.enumerate", math.prod(counts), elements)
        rows = all_rows(counts, self._device)
        chosen = {name: value[row] for (name, value), row in zip(values.items(), rows, strict=True)}
        return self._pack(chosen, (math.prod(counts),))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Composite):
            return False
        return self._shape == other._shape and self._device == other._device and self._specs == other._specs

    def __hash__(self) -> int:
        """Of the present items: do not change a spec while it is a key of a dict."""
        return hash(("Composite", tuple(self._shape), self._device, frozenset(self._specs.items())))

    def __repr__(self) -> str:
        lines = [f"Composite(shape={tuple(self._shape)}, device={self._device})"]
        for name, spec in self._specs.items():
            first, *rest = repr(spec).splitlines()
            lines += [f"    {name}: {first}", *(f"    {line}" for line in rest)]
        return "\n".join(lines)

    # -- for the base class -------------------------------------------------------------------------------------

    def _replaced(self, component: str, value: Any, convert: Callable[[VariableSpec, Tensor], Tensor]) -> Any:
        variables = [(key, spec) for key, spec in self.flat_items() if isinstance(spec, VariableSpec)]
        return _mapped(component, value, variables, convert)

    def _respecified(self, convert: Callable[[VariableSpec], TensorSpec]) -> "Composite":
        out = self.clone()
        for key, spec in self.flat_items():
            if isinstance(spec, VariableSpec):
                out.set(key, convert(spec))
        return out

    def _pack(self, values: dict[str, Any], shape: SizeLike) -> TensorDict:
        return TensorDict(values, batch_size=as_size(shape) + self._shape, device=self._device)

    def _checked(self, key: NestedKey, spec: Any) -> TensorSpec:
        component = f"Composite: entry {canonical_key(key)!r}"
        if isinstance(spec, Mapping):
            spec = Composite(spec, shape=self._shape, device=self._device)
        elif isinstance(spec, KeyedSpec):
            spec = spec._owned()
        if not isinstance(spec, TensorSpec):
            raise TypeError(
                message(
                    component,
                    "not a spec",
                    expected="a spec or a mapping of specs",
                    found=repr(spec),
                    fix="Keywords other than specs, shape and device are entries",
                )
            )
        if -1 in spec.shape and not spec.is_dynamic:
            problem = "tensors of different shapes are no entry of one TensorDict"
            found, fix = repr(spec).splitlines()[0], "Stack Composites that hold them"
            raise ShapeError(message(component, problem, found=found, fix=fix))
        if spec.shape[: self.ndim] != self._shape:
            raise ShapeError(
                message(
                    component,
                    "shape does not start with the batch shape",
                    expected=f"({', '.join(map(str, self._shape))}, ...)",
                    found=tuple(spec.shape),
                    fix="Expand the entry with spec.expand(...), or build the Composite with another shape=",
                )
            )
        return spec if self._device is None or spec.device == self._device else spec.to(self._device)

    def _matches(self, value: Any, lead: Size | None) -> bool:
        front = self._lead_of(value, lead)
        if front is None:
            return False
        for key, spec in self.flat_items():
            entry = read(value, key)
            if entry is None or not spec._matches(entry, front):
                return False
        return True

    def _differences(self, value: Any, key: NestedKey | None, lead: Size | None) -> list[Difference]:
        front = self._lead_of(value, lead)
        if front is None:
            if not isinstance(value, (TensorDictBase, Mapping)):
                return [Difference(key, "type", "TensorDict or mapping", type(value).__name__)]
            size = tuple(value.batch_size) if isinstance(value, TensorDictBase) else ()
            return [Difference(key, "shape", trailing_str(self._shape), str(size))]
        found: list[Difference] = []
        unread = [key_str(key) for key in walk(value) if key not in self]
        for inner, spec in self.flat_items():
            full = inner if key is None else join_key(key, inner)
            entry = read(value, inner)
            if entry is None:
                near = near_matches(key_str(inner), unread)
                found.append(Difference(full, "presence", str(spec), f"missing.{near}" if near else "missing"))
            else:
                found += spec._differences(entry, full, front)
        return found

    def _lead_of(self, value: Any, lead: Size | None) -> Size | None:
        """Dimensions in front of the spec's own in `value`; `None` when it is of another form."""
        if lead is not None:
            return lead
        if isinstance(value, TensorDictBase) and not isinstance(value, NonTensorData):
            size = value.batch_size
            return size[: len(size) - self.ndim] if shape_fits(size, self._shape, None) else None
        return Size() if isinstance(value, Mapping) else None

    def _combine(self, others: Sequence["Composite"], op: ShapeOp) -> "Composite":
        shape = op([dummy(spec.shape, self._device) for spec in (self, *others)]).shape
        out = Composite(shape=shape, device=self._device)
        for other in others:
            if set(other._specs) != set(self._specs) or other._device != self._device:
                fix = "Join specs with equal keys and device"
                raise SpecError(
                    message("Composite", "specs differ", expected=list(self._specs), found=list(other), fix=fix)
                )
        for name, spec in self._specs.items():
            rest = [other._specs[name] for other in others]
            if any(type(other) is not type(spec) for other in rest):
                raise SpecError(message("Composite", f"entries {name!r} differ in kind", expected=spec, found=rest))
            out._specs[name] = spec._combine(rest, op)
        return out

    def _stack_lazily(self, others: Sequence["Composite"], dim: int) -> TensorSpec:
        return StackedComposite(self, *others, dim=dim)

    def _convert(self, device: torch.device | None, dtype: torch.dtype | None) -> "Composite":
        out = Composite(shape=self._shape, device=self._device if device is None else device)
        for name, spec in self._specs.items():
            is_exempt = spec.dtype is not None and not spec.dtype.is_floating_point
            out._specs[name] = spec._convert(device, None if is_exempt else dtype)
        return out


def _mapped(
    component: str, value: Any, specs: Sequence[tuple[NestedKey, Any]], convert: Callable[[Any, Any], Any]
) -> Any:
    """A shallow copy of `value` in which `convert` has been applied to the entries of `specs`."""
    out = copied(value)
    for key, spec in specs:
        entry = read(value, key)
        if entry is None:
            raise missing_key(component, key, walk(value), fix="Give a value for every entry of the spec")
        write(out, key, convert(spec, entry))
    return out
