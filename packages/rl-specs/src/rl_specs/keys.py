"""Names of the entries of a TensorDict, and the mapping protocol that the layers share.

A key is a string or, for a nested entry, a tuple of strings. Functions here return keys in one canonical form:
a string when the entry is at the root, a tuple of two or more strings when it is nested.

`TensorMap` is what the step of an environment, a transform and a policy need of their data: reading and writing
entries by key. A TensorDict satisfies it, and so does a plain `dict` whose nested keys are tuples, which costs a
fraction of the time; code written against the protocol serves both.
"""

from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias, overload

from torch import Tensor

NestedKey: TypeAlias = str | tuple[str, ...]


class TensorMap(Protocol):
    """Entries by key: a TensorDict, or a `dict` from canonical keys to tensors."""

    def __getitem__(self, key: Any, /) -> Any: ...
    def __setitem__(self, key: Any, value: Any, /) -> None: ...
    def get(self, key: Any, default: Any = None, /) -> Any:
        """Entry under `key`, or `default`."""


FlatDict: TypeAlias = dict[NestedKey, Tensor]


def canonical_key(key: NestedKey) -> NestedKey:
    """`key` as a string when it is one level deep, else as a tuple of strings.

    Args:
        key: a string, or a (possibly nested) tuple of strings.
    Returns:
        `"a"` for `"a"` and `("a",)`; `("a", "b")` for `("a", "b")` and `("a", ("b",))`.
    Raises:
        TypeError: `key` holds anything but strings, or nothing.
    """
    if isinstance(key, str):
        return key
    parts: list[str] = []
    if isinstance(key, tuple):
        for part in key:
            inner = canonical_key(part)
            parts.extend((inner,) if isinstance(inner, str) else inner)
    if not parts:
        raise TypeError(f"key: expected a string or a non-empty tuple of strings, found {key!r}.")
    return parts[0] if len(parts) == 1 else tuple(parts)


@overload
def canonical_keys(keys: NestedKey) -> list[NestedKey]: ...
@overload
def canonical_keys(keys: Iterable[NestedKey]) -> list[NestedKey]: ...
def canonical_keys(keys: NestedKey | Iterable[NestedKey]) -> list[NestedKey]:
    """List of canonical keys from one key or several; a tuple of strings is one nested key."""
    if isinstance(keys, str) or (isinstance(keys, tuple) and all(isinstance(k, str) for k in keys)):
        return [canonical_key(keys)]
    return [canonical_key(key) for key in keys]


def join_key(*parts: NestedKey) -> NestedKey:
    """One key from several levels: `join_key("next", ("a", "b"))` is `("next", "a", "b")`."""
    return canonical_key(tuple(parts))  # type: ignore[arg-type]  # nested tuples are what is flattened


def key_str(key: NestedKey) -> str:
    """`key` as a person writes it: `"a"` or `("a", "b")`, for messages."""
    if isinstance(key, str):
        return f'"{key}"'
    return "(" + ", ".join(f'"{part}"' for part in key) + ")"
