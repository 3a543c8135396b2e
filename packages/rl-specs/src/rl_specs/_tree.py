"""Reading entries of TensorDicts, flat dicts and nested dicts alike."""

from collections.abc import Iterator, Mapping
from typing import Any

from tensordict import TensorDictBase

from rl_specs.keys import NestedKey, canonical_key, join_key


def is_key(key: object) -> bool:
    """Whether `key` names an entry, rather than indexing one."""
    return isinstance(key, str) or (isinstance(key, tuple) and len(key) > 0 and all(is_key(part) for part in key))


def path_of(key: NestedKey) -> tuple[str, ...]:
    """`key` as a tuple of strings, however deep.

    Raises:
        TypeError: it is no key.
    """
    canonical = canonical_key(key)
    return (canonical,) if isinstance(canonical, str) else canonical


def read(data: Any, key: NestedKey) -> Any:
    """Entry of a TensorDict, a flat dict (tuples for nested keys) or a nested dict; `None` when it is not there."""
    found = data.get(key, None)
    if found is not None or isinstance(key, str) or isinstance(data, TensorDictBase):
        return found
    for name in key:
        if not isinstance(data, (Mapping, TensorDictBase)):
            return None
        data = data.get(name, None)
    return data


def walk(data: Any) -> Iterator[NestedKey]:
    """Keys of all leaves of a TensorDict, a flat dict or a nested dict."""
    if isinstance(data, TensorDictBase):
        yield from data.keys(True, True)
        return
    for key, entry in data.items():
        if isinstance(entry, (Mapping, TensorDictBase)):
            yield from (join_key(key, inner) for inner in walk(entry))
        else:
            yield key


def copied(data: Any) -> Any:
    """A copy of the levels of a TensorDict, a flat dict or a nested dict; leaves are shared."""
    if isinstance(data, TensorDictBase):
        return data.copy()
    return {
        key: copied(entry) if isinstance(entry, (Mapping, TensorDictBase)) else entry for key, entry in data.items()
    }


def write(data: Any, key: NestedKey, value: Any) -> None:
    """Replace an entry that `read` finds."""
    if isinstance(key, str) or isinstance(data, TensorDictBase) or key in data:
        data[key] = value
    else:
        write(data[key[0]], canonical_key(key[1:]), value)
