"""How a nested value is made of leaves: read once, then followed for every write and every batch.

A structure flattens values that are made like the one it was inferred from into a list of leaves, and builds such
values from leaves. Leaves are tensors (or, where allowed, any objects); inner nodes are TensorDicts, tensorclasses,
dicts, lists, tuples and named tuples. A structure also has a plain description (strings and lists), which checkpoints
carry.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, TypeAlias, final

import torch
from tensordict import NonTensorData, NonTensorStack, TensorDict, TensorDictBase, is_non_tensor, is_tensor_collection
from torch import Size, Tensor

from rl_specs import SpecError, message

Path: TypeAlias = tuple[str, ...]
_ABSENT = object()


class Structure(ABC):
    """One node of a structure."""

    __slots__ = ()

    @abstractmethod
    def flatten(self, value: Any, leaves: list[Any]) -> bool:
        """Append the leaves of `value`; False when it is made in another way (`leaves` is then of no use)."""

    @abstractmethod
    def build(self, leaves: Iterator[Any], lead: tuple[int, ...], device: torch.device | None) -> Any:
        """A value made of the next leaves, whose first dimensions are `lead`."""

    @abstractmethod
    def outline(self, leaves: Iterator[str], path: Path, out: dict[Path, str]) -> None:
        """Write what is at each path: the next text of `leaves` for a leaf, the kind of container for a node."""

    @abstractmethod
    def describe(self) -> list[Any]:
        """The structure as strings, numbers and lists, for `parse`."""


@final
class Leaf(Structure):
    """A tensor, or any object where the structure was inferred with `allow_objects`."""

    __slots__ = ("_is_object",)

    def __init__(self, is_object: bool = False) -> None:
        self._is_object = is_object

    def flatten(self, value: Any, leaves: list[Any]) -> bool:
        """Append `value` itself."""
        leaves.append(value)
        return self._is_object or isinstance(value, Tensor)

    def build(self, leaves: Iterator[Any], lead: tuple[int, ...], device: torch.device | None) -> Any:
        """The next leaf."""
        return next(leaves)

    def outline(self, leaves: Iterator[str], path: Path, out: dict[Path, str]) -> None:
        """Write the next text."""
        out[path] = next(leaves)

    def describe(self) -> list[Any]:
        """`["object"]` or `["tensor"]`."""
        return ["object" if self._is_object else "tensor"]


class _Fields(Structure):
    """A node with named children."""

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, Structure]) -> None:
        self._fields = tuple(fields.items())

    @abstractmethod
    def _kind(self) -> str:
        """The container, for messages."""

    def _flatten_entries(self, entries: Any, leaves: list[Any]) -> bool:
        if len(entries) != len(self._fields):
            return False
        for key, child in self._fields:
            value = entries.get(key, _ABSENT)
            if isinstance(value, Tensor) and child.__class__ is Leaf:  # the usual case, without a call
                leaves.append(value)
            elif value is _ABSENT or not child.flatten(value, leaves):
                return False
        return True

    def outline(self, leaves: Iterator[str], path: Path, out: dict[Path, str]) -> None:
        """Write the container and what is under it."""
        out[path] = self._kind()
        for key, child in self._fields:
            child.outline(leaves, (*path, key), out)

    def _describe_fields(self) -> list[Any]:
        return [[key, child.describe()] for key, child in self._fields]


@final
class CollectionNode(_Fields):
    """A TensorDict, or a tensorclass `cls`, whose batch size is the lead dimensions and then `extra`."""

    __slots__ = ("_cls", "_extra")

    def __init__(self, cls: type[Any] | None, extra: tuple[int, ...], fields: dict[str, Structure]) -> None:
        super().__init__(fields)
        self._cls = cls
        self._extra = extra

    def _kind(self) -> str:
        return "TensorDict" if self._cls is None else self._cls.__name__

    def flatten(self, value: Any, leaves: list[Any]) -> bool:
        """Append the leaves of a TensorDict of any class, or of a tensorclass of the same class."""
        if self._cls is None:
            return isinstance(value, TensorDictBase) and self._flatten_entries(dict(value.items()), leaves)
        return type(value) is self._cls and self._flatten_entries(dict(value.items()), leaves)

    def build(self, leaves: Iterator[Any], lead: tuple[int, ...], device: torch.device | None) -> Any:
        """A new TensorDict or tensorclass around the next leaves."""
        source = {key: child.build(leaves, lead, device) for key, child in self._fields}
        data = TensorDict._new_unsafe(source, batch_size=Size(lead + self._extra))
        data._device = device  # type: ignore[attr-defined]  # given above, it would be looked up once more
        return data if self._cls is None else self._cls.from_tensordict(data)

    def describe(self) -> list[Any]:
        """`["collection", class or None, extra, fields]`."""
        return ["collection", _type_name(self._cls), list(self._extra), self._describe_fields()]


@final
class NonTensorNode(Structure):
    """Text or another object in a TensorDict, whose batch size is the lead dimensions and then `extra`."""

    __slots__ = ("_extra",)

    def __init__(self, extra: tuple[int, ...]) -> None:
        self._extra = extra

    def flatten(self, value: Any, leaves: list[Any]) -> bool:
        """Append `value` itself; `plain` makes lists and objects of it."""
        leaves.append(value)
        return is_non_tensor(value)

    def build(self, leaves: Iterator[Any], lead: tuple[int, ...], device: torch.device | None) -> Any:
        """The next leaf, in the form of tensordict whether it is plain or not."""
        value = next(leaves)
        return value if is_non_tensor(value) else _wrapped(value, lead + self._extra)

    def outline(self, leaves: Iterator[str], path: Path, out: dict[Path, str]) -> None:
        """Write the next text."""
        out[path] = next(leaves)

    def describe(self) -> list[Any]:
        """`["non-tensor", extra]`."""
        return ["non-tensor", list(self._extra)]


@final
class DictNode(_Fields):
    """A `dict` with string keys."""

    __slots__ = ()

    def _kind(self) -> str:
        return "dict"

    def flatten(self, value: Any, leaves: list[Any]) -> bool:
        """Append the leaves of a dict."""
        return isinstance(value, dict) and self._flatten_entries(value, leaves)

    def build(self, leaves: Iterator[Any], lead: tuple[int, ...], device: torch.device | None) -> Any:
        """A new dict around the next leaves."""
        return {key: child.build(leaves, lead, device) for key, child in self._fields}

    def describe(self) -> list[Any]:
        """`["dict", fields]`."""
        return ["dict", self._describe_fields()]


@final
class SequenceNode(_Fields):
    """A list, a tuple or a named tuple `cls`; children are named by position."""

    __slots__ = ("_cls",)

    def __init__(self, cls: type[Any], children: list[Structure]) -> None:
        super().__init__({str(position): child for position, child in enumerate(children)})
        self._cls = cls

    def _kind(self) -> str:
        return self._cls.__name__

    def flatten(self, value: Any, leaves: list[Any]) -> bool:
        """Append the leaves of a sequence of the same class and length."""
        if type(value) is not self._cls or len(value) != len(self._fields):
            return False
        return all(child.flatten(item, leaves) for item, (_, child) in zip(value, self._fields, strict=True))

    def build(self, leaves: Iterator[Any], lead: tuple[int, ...], device: torch.device | None) -> Any:
        """A new sequence around the next leaves."""
        items = [child.build(leaves, lead, device) for _, child in self._fields]
        if self._cls is list:
            return items
        return tuple(items) if self._cls is tuple else self._cls(*items)

    def describe(self) -> list[Any]:
        """`["list" | "tuple" | named tuple class, children]`."""
        name = self._cls.__name__ if self._cls in (list, tuple) else _type_name(self._cls)
        return ["sequence", name, [child.describe() for _, child in self._fields]]


def infer(value: Any, *, lead_dims: int, allow_objects: bool = False) -> tuple[Structure, list[Path]]:
    """Structure of `value`.

    Args:
        value: any nesting of TensorDicts, tensorclasses, dicts, lists and tuples.
        lead_dims: how many of the first batch dimensions vary from value to value: 1 for a batch of rows, 0 for a row.
        allow_objects: whether a leaf may be anything but a tensor.
    Returns:
        The structure, and the paths of leaves that are not tensors (always none with `allow_objects`).
    """
    objects: list[Path] = []

    def visit(value: Any, path: Path) -> Structure:
        if isinstance(value, Tensor):
            return Leaf()
        if is_non_tensor(value) and allow_objects:
            return NonTensorNode(tuple(value.batch_size[lead_dims:]))
        if is_tensor_collection(value) and not is_non_tensor(value):
            cls = None if isinstance(value, TensorDictBase) else type(value)
            fields = {key: visit(item, (*path, key)) for key, item in value.items()}
            return CollectionNode(cls, tuple(value.batch_size[lead_dims:]), fields)
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return DictNode({key: visit(item, (*path, key)) for key, item in value.items()})
        if type(value) in (list, tuple) or _is_namedtuple(type(value)):
            return SequenceNode(type(value), [visit(item, (*path, str(i))) for i, item in enumerate(value)])
        if not allow_objects:
            objects.append(path)
        return Leaf(is_object=True)

    return visit(value, ()), objects


def plain(leaf: Any) -> Any:
    """A leaf as checkpoints hold it: what is in `NonTensorData`, and lists along its batch dimensions."""
    if not is_non_tensor(leaf):
        return leaf
    return [plain(part) for part in leaf.unbind(0)] if leaf.batch_size else leaf.data


def _wrapped(value: Any, shape: tuple[int, ...]) -> Any:
    """What `plain` was given."""
    if not shape or 0 in shape:
        return NonTensorData(value if not shape else None, batch_size=shape)
    return NonTensorStack(*[_wrapped(part, shape[1:]) for part in value])


def parse(description: list[Any]) -> Structure:
    """The structure that `describe` described.

    Raises:
        SpecError: it names a class that is not loaded in this process.
    """
    kind = description[0]
    if kind in ("tensor", "object"):
        return Leaf(is_object=kind == "object")
    if kind == "non-tensor":
        return NonTensorNode(tuple(description[1]))
    if kind == "collection":
        cls = None if description[1] is None else _loaded_type(description[1])
        return CollectionNode(cls, tuple(description[2]), {key: parse(child) for key, child in description[3]})
    if kind == "dict":
        return DictNode({key: parse(child) for key, child in description[1]})
    if kind == "sequence":
        plain = {"list": list, "tuple": tuple}
        name = description[1]
        return SequenceNode(plain.get(name) or _loaded_type(name), [parse(child) for child in description[2]])
    raise SpecError(message("rl_buffers", f"unknown kind of node {kind!r} in a saved structure"))


def _is_namedtuple(cls: type[Any]) -> bool:
    return issubclass(cls, tuple) and isinstance(getattr(cls, "_fields", None), tuple)


def _type_name(cls: type[Any] | None) -> str | None:
    return None if cls is None else f"{cls.__module__}:{cls.__qualname__}"


def _loaded_type(name: str) -> type[Any]:
    """The class of that name among modules already imported: loading a checkpoint imports nothing."""
    module_name, _, qualified = name.partition(":")
    found: Any = sys.modules.get(module_name)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and (is_tensor_collection(found) or _is_namedtuple(found)):
        return found
    raise SpecError(
        message(
            "rl_buffers",
            f"the saved rows are of class {name}, which is not loaded",
            fix=f"Import {module_name} before loading, and define the class at the top of that module",
        )
    )
