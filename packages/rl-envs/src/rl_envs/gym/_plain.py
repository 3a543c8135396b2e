"""Plain Python and numpy values as tensors, numbers, strings, lists and dicts, and back.

What `encode` returns survives `torch.save` and `torch.load(weights_only=True)`.
"""

from collections import deque
from typing import Any

import numpy as np
import torch
from torch import Tensor

_SCALARS = (bool, int, float, str, type(None))
_NUMERIC = "biufc"


def is_plain(value: Any) -> bool:
    """Whether `encode` takes `value`."""
    if isinstance(value, (_SCALARS, bytes | Tensor | np.random.Generator | np.random.RandomState)):
        return True
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in _NUMERIC + "SU"
    if type(value) in (list, tuple, set, frozenset, deque):
        return all(is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(is_plain(key) and is_plain(item) for key, item in value.items())
    return False


def encode(value: Any) -> Any:
    """`value` as tensors, numbers, strings, lists and dicts.

    Raises:
        TypeError: `value` is not plain.
    """
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return {"type": "int", "value": str(int(value))}
    if type(value) in _SCALARS:
        return value
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
    if isinstance(value, dict):
        return {"type": "dict", "items": [[encode(key), encode(item)] for key, item in value.items()]}
    if isinstance(value, deque):
        return {"type": "deque", "items": [encode(item) for item in value], "maxlen": value.maxlen}
    for name, kind in _CONTAINERS.items():
        if type(value) is kind:
            return {"type": name, "items": [encode(item) for item in value]}
    raise TypeError(f"encode: expected a plain value, found {type(value).__name__}.")


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
        case "dict":
            return {decode(key): decode(item) for key, item in value["items"]}
        case "deque":
            return deque((decode(item) for item in value["items"]), value["maxlen"])
        case name:
            return _CONTAINERS[name](decode(item) for item in value["items"])


def _generator(state: dict[str, Any]) -> np.random.Generator:
    bits = getattr(np.random, state["bit_generator"])()
    bits.state = state
    return np.random.Generator(bits)
