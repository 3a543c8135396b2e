"""Constructors that say which argument was meant."""

import functools
import inspect
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from rl_specs import message, near_matches

_P = ParamSpec("_P")
_Self = TypeVar("_Self")


def named_arguments(init: Callable[Concatenate[_Self, _P], None]) -> Callable[Concatenate[_Self, _P], None]:
    """Decorates `__init__`: an argument of an unknown name is refused with the names that come near."""
    known = [name for name in inspect.signature(init).parameters if name != "self"]
    accepted = frozenset(known)

    @functools.wraps(init)
    def checked(self: _Self, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        unknown = [name for name in kwargs if name not in accepted]
        if unknown:
            near = "".join(near_matches(name, known) for name in unknown)
            problem = f"unknown argument {', '.join(unknown)}.{near}"
            raise TypeError(message(type(self).__name__, problem, fix=f"The arguments are {', '.join(known)}"))
        init(self, *args, **kwargs)

    return checked
