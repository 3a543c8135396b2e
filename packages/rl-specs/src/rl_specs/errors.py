"""Errors shared by the layers, and the one form their messages take.

A message names the component, what is wrong with which entry, what was expected, what was found, and the fix.
"""

import difflib
from collections.abc import Iterable

from rl_specs.keys import NestedKey, key_str


class SpecError(ValueError):
    """A value, or a spec, is not what a spec says."""


class ShapeError(ValueError):
    """A tensor has another shape than expected."""


class DTypeError(TypeError):
    """A tensor has another dtype than expected."""


class DeviceError(ValueError):
    """A tensor is on another device than expected."""


class MissingKeyError(KeyError):
    """An entry that a component reads is not there."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


def message(
    component: str, problem: str, *, expected: object = None, found: object = None, fix: str | None = None
) -> str:
    """One error message: `component: problem. Expected ..., found .... fix.`"""
    parts = [_sentence(f"{component}: {problem}")]
    if expected is not None and found is not None:
        parts.append(f"Expected {expected}, found {found}.")
    elif expected is not None:
        parts.append(f"Expected {expected}.")
    elif found is not None:
        parts.append(f"Found {found}.")
    if fix is not None:
        parts.append(_sentence(fix))
    return " ".join(parts)


def _sentence(text: str) -> str:
    """`text` with a full stop, unless it ends in a mark of its own."""
    return text if text.endswith(("?", "!")) else f"{text.rstrip('.')}."


def missing_key(component: str, key: NestedKey, available: Iterable[NestedKey], *, fix: str) -> MissingKeyError:
    """Error for an entry that is not there, listing what is and the near matches.

    Args:
        component: who reads the entry, e.g. `"ClipPPOLoss"`.
        key: the entry that is missing.
        available: the entries that are there.
        fix: what to do about it, one sentence.
    Returns:
        The error, to be raised by the caller.
    """
    names = sorted(key_str(k) for k in available)
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "") if names else "nothing"
    near = near_matches(key_str(key), names)
    return MissingKeyError(
        f"{component}: key {key_str(key)} missing from the input (has: {listed}).{near} {_sentence(fix)}"
    )


def near_matches(name: str, choices: Iterable[str]) -> str:
    """` Did you mean ...?` for the closest of `choices`, or an empty string."""
    close = difflib.get_close_matches(name, list(choices), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(close)}?" if close else ""
