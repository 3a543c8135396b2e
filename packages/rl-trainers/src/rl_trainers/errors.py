"""The errors that a person at the command line can mend; each is shown as its message, without a traceback."""

from typing import ClassVar


class RecipeError(Exception):
    """Base of the errors of this package.

    Attributes:
        exit_code: of the process when the command line ends with this error.
    """

    exit_code: ClassVar[int] = 1


class ConfigError(RecipeError, ValueError):
    """A configuration has mistakes, each a line of the message.

    Attributes:
        problems: the mistakes, one sentence each.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, problems: list[str]) -> None:
        self.problems = list(problems)
        head = "configuration: " + ("1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes")
        super().__init__("\n".join([head, *(f"  - {problem}" for problem in problems)]))


class RunFolderError(RecipeError, RuntimeError):
    """A folder is not a run, or a new run cannot have the name asked for."""

    exit_code: ClassVar[int] = 2


class CheckpointError(RecipeError, RuntimeError):
    """A checkpoint cannot be written, or is missing, incomplete, damaged or of a newer format."""


class MetricsError(RecipeError, ValueError):
    """A metrics file cannot be read, or a row does not fit it."""

    exit_code: ClassVar[int] = 2


class MissingExtraError(RecipeError, ImportError):
    """An optional dependency is asked for and not installed."""

    exit_code: ClassVar[int] = 2


class UnsupportedEnvError(RecipeError, ValueError):
    """An environment that a recipe cannot train."""

    exit_code: ClassVar[int] = 2


class DivergenceError(RecipeError, RuntimeError):
    """The losses are no longer numbers."""


class EvaluationError(RecipeError, RuntimeError):
    """An episode does not end."""


class VideoError(RecipeError, RuntimeError):
    """A film could not be made; nothing else is affected."""
