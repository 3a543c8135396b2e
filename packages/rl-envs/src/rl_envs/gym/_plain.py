"""Plain Python and numpy values as tensors, numbers, strings, lists and dicts, and back.

What `encode` returns survives `torch.save` and `torch.load(weights_only=True)`.
"""

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor

_SCALARS = (bool, int, float, str, type(None))
_NUMERIC = "biufc"
_FACTORIES: dict[str, Any] = {each.__name__: each for each in (bool, int, float, str, list, tuple, set, dict)}
"""Default values of a `defaultdict` that have a name here; other functions are code, and no values."""


def is_plain(value: Any) -> bool:
    """Whether `encode` takes `value`."""
    if type(value) in _SCALARS or isinstance(value, bytes | Tensor | np.random.Generator | np.random.RandomState):
        return True
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in _NUMERIC + "SU"
    if type(value) in (list, tuple, set, frozenset, deque):
        return all(is_plain(item) for item in value)
    if isinstance(value, Enum):
        return _enum_class(*_enum_name(value)) is type(value) and is_plain(value.value)
    if type(value) in _DICTS.values() or _is_default_dict(value):
        return all(is_plain(key) and is_plain(item) for key, item in value.items())
    return False


def encode(value: Any) -> Any:
    """`value` as tensors, numbers, strings, lists and dicts.

    Raises:
        TypeError: `value` is not plain.
    """
    if type(value) is int and not -(2**63) <= value < 2**63:
        return {"type": "int", "value": str(value)}
    if type(value) in _SCALARS:
        return value
    if isinstance(value, Enum) and is_plain(value):
        module, name = _enum_name(value)
        return {"type": "enum", "module": module, "class": name, "value": encode(value.value)}
    if isinstance(value, np.generic):
        return {"type": "scalar", "value": encode(np.asarray(value))}
    if isinstance(value, np.ndarray):
        raw = np.frombuffer(np.ascontiguousarray(value).tobytes(), dtype=np.uint8)
        return {
            "type": "array",
            "dtype": value.dtype.str,
            "shape": list(value.shape),
            "bytes": torch.from_numpy(raw.copy()),
        }
    if isinstance(value, bytes):
        return {"type": "bytes", "bytes": torch.frombuffer(bytearray(value), dtype=torch.uint8) if value else None}
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.random.Generator):
        return {"type": "generator", "state": encode(value.bit_generator.state)}
    if isinstance(value, np.random.RandomState):
        return {"type": "random_state", "state": encode(value.get_state(legacy=False))}
    for name, kind in _DICTS.items():
        if type(value) is kind:
            return {"type": name, "items": _encoded_items(value)}
    if _is_default_dict(value):
        factory = None if value.default_factory is None else value.default_factory.__name__
        return {"type": "defaultdict", "factory": factory, "items": _encoded_items(value)}
    if isinstance(value, deque):
        return {"type": "deque", "items": [encode(item) for item in value], "maxlen": value.maxlen}
    for name, kind in _CONTAINERS.items():
        if type(value) is kind:
            return {"type": name, "items": [encode(item) for item in value]}
    raise TypeError(f"encode: expected a plain value, found {type(value).__name__}.")


def _encoded_items(value: dict[Any, Any]) -> list[list[Any]]:
    return [[encode(key), encode(item)] for key, item in value.items()]


def _is_default_dict(value: Any) -> bool:
    if type(value) is not defaultdict:
        return False
    factory = value.default_factory
    return factory is None or _FACTORIES.get(getattr(factory, "__name__", "")) is factory


def _enum_name(value: Enum) -> tuple[str, str]:
    return type(value).__module__, type(value).__qualname__


def _enum_class(module: str, name: str) -> Any:
    """The class of this name, where its module has been imported; None: there is none, or it is no `Enum`."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Enum) else None


_DICTS: dict[str, Any] = {"dict": dict, "ordered_dict": OrderedDict, "counter": Counter}
_CONTAINERS: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


def decode(value: Any) -> Any:
    """What `encode` was given; nothing is shared with `value`."""
    if isinstance(value, Tensor):
        return value.clone()
    if not isinstance(value, dict):
        return value
    match value["type"]:
        case "int":
            return int(value["value"])
        case "scalar":
            return decode(value["value"])[()]
        case "array":
            flat = np.frombuffer(value["bytes"].numpy().tobytes(), dtype=value["dtype"])
            return flat.reshape(value["shape"]).copy()
        case "bytes":
            return b"" if value["bytes"] is None else value["bytes"].numpy().tobytes()
        case "generator":
            return _generator(decode(value["state"]))
        case "random_state":
            random = np.random.RandomState()
            random.set_state(decode(value["state"]))
            return random
        case "enum":
            kind = _enum_class(value["module"], value["class"])
            if kind is None:
                found = f"{value['module']}.{value['class']}"
                raise ValueError(f"decode: no enum {found}. Import its module before the state is loaded.")
            return kind(decode(value["value"]))
        case "dict" | "ordered_dict" | "counter" as name:
            return _DICTS[name](_decoded_items(value))
        case "defaultdict":
            factory = None if value["factory"] is None else _FACTORIES[value["factory"]]
            return defaultdict(factory, _decoded_items(value))
        case "deque":
            return deque((decode(item) for item in value["items"]), value["maxlen"])
        case name:
            return _CONTAINERS[name](decode(item) for item in value["items"])


def _decoded_items(value: dict[str, Any]) -> dict[Any, Any]:
    return {decode(key): decode(item) for key, item in value["items"]}


def _generator(state: dict[str, Any]) -> np.random.Generator:
    bits = getattr(np.random, state["bit_generator"])()
    bits.state = state
    return np.random.Generator(bits)
