"""Arguments: constructors that say which one was meant, and numbers that are what they should be."""

import functools
import inspect
import operator
from collections.abc import Callable
from inspect import Parameter
from math import inf
from typing import Any, Concatenate, ParamSpec, TypeVar, get_args, get_type_hints

from rl_specs import message, near_matches

_P = ParamSpec("_P")
_Self = TypeVar("_Self")


def named_arguments(init: Callable[Concatenate[_Self, _P], None]) -> Callable[Concatenate[_Self, _P], None]:
    """Decorates `__init__`: an argument of an unknown name is refused with the names that come near.

    `**options: Unpack[SomeTypedDict]` stands for the keyword arguments of that `TypedDict`, which `inspect.signature`
    and `help` then show one by one.
    """
    signature = _written_out(inspect.signature(init))
    known = [name for name in signature.parameters if name != "self"]
    accepted = frozenset(known)

    @functools.wraps(init)
    def checked(self: _Self, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        unknown = [name for name in kwargs if name not in accepted]
        if unknown:
            near = "".join(near_matches(name, known) for name in unknown)
            problem = f"unknown argument {', '.join(unknown)}.{near}"
            raise TypeError(message(type(self).__name__, problem, fix=f"The arguments are {', '.join(known)}"))
        init(self, *args, **kwargs)

    checked.__signature__ = signature  # type: ignore[attr-defined]  # read by inspect.signature
    return checked


def _written_out(signature: inspect.Signature) -> inspect.Signature:
    """A signature with the keys of `**options: Unpack[SomeTypedDict]` as keyword arguments that may be left out."""
    parameters: list[Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.kind is not Parameter.VAR_KEYWORD:
            parameters.append(parameter)
            continue
        options = get_type_hints(get_args(parameter.annotation)[0])
        parameters += [
            Parameter(name, Parameter.KEYWORD_ONLY, default=..., annotation=kind) for name, kind in options.items()
        ]
    return signature.replace(parameters=parameters)


def whole_number(component: str, name: str, value: Any, *, least: int) -> int:
    """An argument that is an integer, of Python, NumPy or torch, of at least `least`.

    Raises:
        ValueError: it is something else.
    """
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ValueError(message(component, name, expected=f"an integer >= {least}", found=repr(value)))
    return number


def is_exponent(value: Any) -> bool:
    """Whether `value` is a finite number >= 0."""
    try:
        return bool(0.0 <= value < inf)
    except (TypeError, ValueError, RuntimeError):
        return False
