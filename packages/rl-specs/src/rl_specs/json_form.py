"""Specs as JSON text and back, exactly: numbers keep every bit, entries their order."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Size, Tensor

from rl_specs._base import TensorSpec
from rl_specs._leaf import LeafSpec, dtype_str
from rl_specs._masked import MaskedSpec
from rl_specs._shape_ops import known
from rl_specs.binary import Binary
from rl_specs.bounded import Bounded
from rl_specs.categorical import Categorical, OneHot
from rl_specs.choice import Choice
from rl_specs.composite import Composite
from rl_specs.errors import SpecError, message, near_matches
from rl_specs.multi_categorical import MultiCategorical, MultiOneHot
from rl_specs.non_tensor import NonTensor
from rl_specs.stacked import Stacked
from rl_specs.stacked_composite import StackedComposite
from rl_specs.unbounded import Unbounded

_FORMAT: Final = 1
_INFINITIES: Final = {"inf": float("inf"), "-inf": float("-inf")}


def to_json(spec: TensorSpec) -> str:
    """The spec as one line of JSON that `from_json` turns into an equal spec.

    Raises:
        SpecError: the example of a `NonTensor` is more than numbers, strings, lists and dicts of such.
    """
    return json.dumps({"format": _FORMAT, "spec": _described(spec)}, allow_nan=False)


def from_json(text: str, *, device: torch.device | str | int | None = None) -> TensorSpec:
    """The spec that `to_json` described.

    Args:
        text: what `to_json` returned.
        device: device of the result, in place of the one that the text names.
    Raises:
        SpecError: the text is no JSON, of a later format, or describes no spec.
    """
    try:
        whole = json.loads(text)
    except ValueError as error:
        raise _unreadable(f"no JSON ({error})") from error
    if not isinstance(whole, dict) or set(whole) != {"format", "spec"}:
        raise _unreadable("not what to_json writes", expected='an object with "format" and "spec"')
    if whole["format"] != _FORMAT:
        fix = "Read it with the version of rl-specs that wrote it, or a later one"
        raise _unreadable("another format", expected=_FORMAT, found=whole["format"], fix=fix)
    return _rebuilt(whole["spec"], None if device is None else str(torch.device(device)))


def _described(spec: TensorSpec) -> dict[str, Any]:
    device = None if spec.device is None else str(spec.device)
    fields: dict[str, Any] = {"type": type(spec).__name__, "shape": list(spec.shape), "device": device}
    if isinstance(spec, LeafSpec):
        fields["dtype"] = dtype_str(spec.dtype)
    match spec:
        case Composite():
            fields["entries"] = {name: _described(entry) for name, entry in spec.items()}
        case Stacked() | StackedComposite():
            fields |= {"dim": spec.stack_dim, "specs": [_described(part) for part in spec.specs]}
        case Choice():
            fields["choices"] = [_described(choice) for choice in spec.choices]
        case NonTensor():
            fields["example_data"] = _plain(spec.example_data)
        case Bounded():
            fields |= {"low": _numbers(spec.low), "high": _numbers(spec.high)}
        case Categorical() | OneHot():
            fields["n"] = spec.n
        case MultiCategorical() | MultiOneHot():
            fields["nvec"] = list(spec.nvec)
        case Unbounded() | Binary():
            pass
        case _:
            raise SpecError(message("to_json", "a spec of a kind that has no form in JSON", found=type(spec).__name__))
    if isinstance(spec, MaskedSpec) and spec.mask is not None:
        fields["mask"] = spec.mask.flatten().int().tolist()
        if spec.is_dynamic:
            fields["mask_shape"] = list(spec.mask.shape)
    return fields


def _rebuilt(fields: Any, device: str | None) -> TensorSpec:
    if not isinstance(fields, dict):
        raise _unreadable("no description of a spec", expected="an object", found=type(fields).__name__)
    kind = fields.get("type")
    build = _BUILDERS.get(kind) if isinstance(kind, str) else None
    if build is None:
        raise _unreadable(f"unknown type {kind!r}.{near_matches(str(kind), _BUILDERS)}", expected=sorted(_BUILDERS))
    given = dict(fields) if device is None else {**fields, "device": device}
    if "dtype" in given:
        given["dtype"] = _dtype(given["dtype"])
    try:
        return build(given)
    except KeyError as error:
        raise _unreadable(f"{kind}: field {error} is missing", found=sorted(fields)) from error
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, SpecError):
            raise
        raise _unreadable(f"{kind}: {str(error).splitlines()[0]}") from error


def _composite(given: Mapping[str, Any]) -> TensorSpec:
    device = given["device"]
    entries = {name: _rebuilt(entry, device) for name, entry in given["entries"].items()}
    return Composite(entries, shape=given["shape"], device=device)


def _stack(kind: type[Stacked] | type[StackedComposite]) -> Callable[[Mapping[str, Any]], TensorSpec]:
    def build(given: Mapping[str, Any]) -> TensorSpec:
        return kind(*_all_rebuilt(given, "specs"), dim=given["dim"])

    return build


def _choice(given: Mapping[str, Any]) -> TensorSpec:
    return Choice(_all_rebuilt(given, "choices")).expand(given["shape"])


def _all_rebuilt(given: Mapping[str, Any], field: str) -> list[TensorSpec]:
    return [_rebuilt(spec, given["device"]) for spec in given[field]]


def _bounded(given: Mapping[str, Any]) -> TensorSpec:
    low, high = (_bound(given[name], given["dtype"]) for name in ("low", "high"))
    shape = given["shape"]
    low, high = (bound if bound.ndim == 0 else bound.reshape(known(Size(shape))) for bound in (low, high))
    return Bounded(low, high, shape, given["device"], given["dtype"])


def _discrete(kind: Callable[..., MaskedSpec], count: str) -> Callable[[Mapping[str, Any]], TensorSpec]:
    def build(given: Mapping[str, Any]) -> TensorSpec:
        spec = kind(given[count], given["shape"], given["device"], given["dtype"])
        if "mask" in given:
            shape = given.get("mask_shape", spec._mask_shape)
            spec.update_mask(torch.tensor(given["mask"], dtype=torch.bool).reshape(shape))
        return spec

    return build


_BUILDERS: Final[dict[str, Callable[[Mapping[str, Any]], TensorSpec]]] = {
    "Composite": _composite,
    "Stacked": _stack(Stacked),
    "StackedComposite": _stack(StackedComposite),
    "Choice": _choice,
    "NonTensor": lambda given: NonTensor(given["shape"], given["device"], example_data=given["example_data"]),
    "Bounded": _bounded,
    "Unbounded": lambda given: Unbounded(given["shape"], given["device"], given["dtype"]),
    "Binary": lambda given: Binary(None, given["shape"], given["device"], given["dtype"]),
    "Categorical": _discrete(Categorical, "n"),
    "OneHot": _discrete(OneHot, "n"),
    "MultiCategorical": _discrete(MultiCategorical, "nvec"),
    "MultiOneHot": _discrete(MultiOneHot, "nvec"),
}


def _numbers(bound: Tensor) -> Any:
    """The elements of a bound in a row; one number where they are all the same."""
    flat = bound.detach().cpu().flatten()
    values = (flat.double() if flat.is_floating_point() else flat.to(torch.int64)).tolist()
    shown = [repr(value) if value in _INFINITIES.values() else value for value in values]
    is_uniform = bool(shown) and all(repr(value) == repr(shown[0]) for value in shown)
    return shown[0] if is_uniform else shown


def _bound(numbers: Any, dtype: torch.dtype) -> Tensor:
    wide = torch.float64 if dtype.is_floating_point else torch.int64
    values = (
        [_INFINITIES.get(n, n) for n in numbers] if isinstance(numbers, list) else _INFINITIES.get(numbers, numbers)
    )
    return torch.tensor(values, dtype=wide).to(dtype)


def _dtype(name: object) -> torch.dtype:
    found = getattr(torch, name, None) if isinstance(name, str) else None
    if not isinstance(found, torch.dtype):
        raise _unreadable("no dtype of torch", found=name)
    return found


def _plain(value: Any) -> Any:
    """`value`, when it comes back from JSON as it is."""
    if value is None or type(value) in (bool, int, str) or (type(value) is float and abs(value) < float("inf")):
        return value
    if type(value) is list:
        return [_plain(item) for item in value]
    if type(value) is dict and all(type(key) is str for key in value):
        return {key: _plain(item) for key, item in value.items()}
    expected = "finite numbers, strings, None, and lists and dicts of these"
    fix = "Give the NonTensor another example_data, or pickle the spec"
    raise SpecError(message("to_json", "example_data", expected=expected, found=repr(value), fix=fix))


def _unreadable(problem: str, *, expected: object = None, found: object = None, fix: str | None = None) -> SpecError:
    return SpecError(message("from_json", problem, expected=expected, found=found, fix=fix))
