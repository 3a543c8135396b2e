"""Closing several environments, whatever one of them does."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol


class Closeable(Protocol):
    """What can be closed, such as an environment of this library or of Gymnasium."""

    def close(self) -> object:
        """Release what it holds."""


def close_every(envs: Iterable[Closeable]) -> None:
    """Close environments, all of them though the closing of one fails.

    Raises:
        Exception: what the first of those raised; further ones are told in its notes.
    """
    errors: list[Exception] = []
    for env in envs:
        try:
            env.close()
        except Exception as error:
            errors.append(error)
    if errors:
        for other in errors[1:]:
            errors[0].add_note(f"Another environment was not closed either: {type(other).__name__}: {other}")
        raise errors[0]


@contextmanager
def closed_on_error(envs: Iterable[Closeable]) -> Iterator[None]:
    """Close environments where what is done with them fails; what is raised is that failure, and nothing of theirs."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            close_every(envs)
        raise
