"""Coefficients under two spellings, and checks of string choices."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, get_args

from rl_specs import NestedKey, message, near_matches


class Unset(Enum):
    """Default of an argument whose absence must be told from None."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET

# Objects of their own, so that a value that the user gave, even the same number, is told from the default.
ENTROPY_COEFF: Final = float("0.01")
CRITIC_COEFF: Final = float("1.0")

EntropyCoeff = float | Mapping[NestedKey, float] | None


def pick_spelling(component: str, name: str, value: Any, default: float, old_name: str, old_value: Any) -> Any:
    """The value given under `name` or under `old_name`.

    Raises:
        TypeError: both were given.
    """
    if isinstance(old_value, Unset):
        return value
    if value is not default:
        fix = f"Give {name} alone; {old_name} is its older spelling"
        raise TypeError(message(component, f"both {name} and {old_name} were given", fix=fix))
    return old_value


def check_choice(component: str, name: str, value: object, choices: Any) -> None:
    """Check that `value` is one of a `Literal`.

    Raises:
        ValueError: it is not.
    """
    allowed = get_args(choices)
    if value not in allowed:
        near = near_matches(str(value), allowed)
        raise ValueError(
            message(
                component, f"{name} is {value!r}", expected=" or ".join(map(repr, allowed)), fix=f"Change it.{near}"
            )
        )
