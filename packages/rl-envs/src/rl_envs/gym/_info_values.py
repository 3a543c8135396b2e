"""Values in the `info` dictionaries of Gymnasium: finding them, and their arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rl_envs.gym.spaces import array_dtype
from rl_specs import (
    DTypeError,
    NestedKey,
    ShapeError,
    SpecError,
    TensorSpec,
    Unbounded,
    canonical_key,
    key_str,
    message,
    missing_key,
)

Array = np.ndarray[Any, Any]
_NUMERIC = "biuf"


def value_at(info: Mapping[str, Any], key: NestedKey) -> Any:
    """The value under a key, or None."""
    value: Any = info
    for name in (key,) if isinstance(key, str) else key:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def found_entries(
    samples: Sequence[Mapping[str, Any]], keys: Sequence[NestedKey] | None, *, ignore_private: bool
) -> dict[NestedKey, TensorSpec]:
    """Specs of entries, from their values.

    Args:
        samples: dictionaries of one env.
        keys: which entries; None: all whose values are numbers, flags, or arrays of such.
        ignore_private: leave out names that start with an underscore, where `keys` is None.
    Raises:
        MissingKeyError: an entry is in none of the samples.
        SpecError: the values of an entry are no numbers, or have different shapes.
    """
    values: dict[NestedKey, list[Any]] = {}
    for sample in samples:
        for key, value in _leaves(sample, ()):
            values.setdefault(key, []).append(value)
    if keys is None:
        chosen = [key for key in values if not (ignore_private and _is_private(key)) and _are_numeric(values[key])]
    else:
        chosen = list(keys)
    for key in chosen:
        if key not in values:
            fix = "Check the name, or give its spec, for an entry that is seldom there"
            raise missing_key("info of the environment", key, values, fix=fix)
    return {key: _spec(key, values[key]) for key in chosen}


def as_array(key: NestedKey, value: Any, spec: TensorSpec) -> Array:
    """`value` as an array of the shape of `spec`.

    Raises:
        SpecError: it is no number.
        DTypeError: it has a fraction, and the spec is of integers or flags.
        ShapeError: it has another number of elements.
    """
    array = np.asarray(value)
    if array.dtype.kind not in _NUMERIC:
        raise SpecError(message(f"info {key_str(key)}", "neither a number nor an array of numbers", found=repr(value)))
    if array.dtype.kind == "f" and spec.dtype is not None and not spec.dtype.is_floating_point:
        check_whole(key, array, spec.dtype)
    if array.shape == spec.shape:
        return array
    if array.size != spec.shape.numel():
        expected, fix = tuple(spec.shape), "Correct the spec given to the reader, or wrap the environment"
        raise ShapeError(
            message(f"info {key_str(key)}", "another shape", expected=expected, found=array.shape, fix=fix)
        )
    return array.reshape(spec.shape)


def check_whole(key: NestedKey, array: Array, dtype: torch.dtype) -> None:
    """Refuse fractions that a dtype would cut off.

    Raises:
        DTypeError: there are some.
    """
    if not np.array_equal(array, np.trunc(array)):
        expected, found = f"{dtype}, as at the first reset or step, or in the spec given", array.tolist()
        fix = "Give its spec: default_info_dict_reader([key], [Unbounded(shape=...)])"
        raise DTypeError(
            message(f"info {key_str(key)}", "a number with a fraction", expected=expected, found=found, fix=fix)
        )


def _leaves(info: Mapping[Any, Any], path: tuple[str, ...]) -> list[tuple[NestedKey, Any]]:
    found: list[tuple[NestedKey, Any]] = []
    for name, value in info.items():
        if not isinstance(name, str):
            continue
        if isinstance(value, Mapping):
            found += _leaves(value, (*path, name))
        else:
            found.append((canonical_key((*path, name)), value))
    return found


def _is_private(key: NestedKey) -> bool:
    return any(name.startswith("_") for name in ((key,) if isinstance(key, str) else key))


def _are_numeric(values: list[Any]) -> bool:
    """Whether all values have arrays of one shape."""
    forms = [_form(value) for value in values]
    return None not in forms


def _form(value: Any) -> tuple[tuple[int, ...], torch.dtype] | None:
    """Shape and dtype of the tensor of a value; None where it has none."""
    if isinstance(value, bool | int | float):
        return (), torch.as_tensor(value).dtype
    if isinstance(value, str | bytes) or value is None:
        return None
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return None
    if array.dtype.kind not in _NUMERIC:
        return None
    return array.shape, torch.from_numpy(np.empty(0, dtype=array_dtype(array.dtype))).dtype


def _spec(key: NestedKey, values: list[Any]) -> TensorSpec:
    """The spec that all values of an entry fit."""
    forms = {_form(value) for value in values}
    where = f"info {key_str(key)}"
    if None in forms:
        found = repr(next(value for value in values if _form(value) is None))
        fix = "Leave it out, or write a BaseInfoDictReader that turns it into a tensor"
        raise SpecError(message(where, "neither a number nor an array of numbers", found=found, fix=fix))
    shapes = sorted({form[0] for form in forms if form is not None})
    if len(shapes) > 1:
        fix = "Leave it out, or write a BaseInfoDictReader that gives it one shape"
        raise SpecError(message(where, "its shape changes from step to step", found=shapes, fix=fix))
    dtypes = [form[1] for form in forms if form is not None]
    dtype = dtypes[0]
    for other in dtypes[1:]:
        dtype = torch.promote_types(dtype, other)
    return Unbounded(shape=torch.Size(shapes[0]), dtype=dtype)
