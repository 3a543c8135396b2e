"""Where the parts of a buffer come from: given as objects, or made by callables, perhaps at first use only."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeAlias, final

from rl_buffers._sampler import Sampler
from rl_buffers._storage import Storage
from rl_buffers._writer import Writer
from rl_specs import message

StorageSource: TypeAlias = Storage | Callable[[], Storage]
SamplerSource: TypeAlias = Sampler | Callable[[], Sampler]
WriterSource: TypeAlias = Writer | Callable[[], Writer]
Transform: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class PartSources:
    """What a buffer is to be built of; see `ReplayBuffer`."""

    storage: StorageSource | None
    sampler: SamplerSource | None
    writer: WriterSource | None
    transform: Transform | None
    transform_factory: Callable[[], Transform] | None


def made_storage(component: str, source: StorageSource | None, default: Callable[[], Any]) -> Storage:
    """The storage of a buffer; arguments and errors as for `_made`."""
    storage: Storage = _made(component, "storage", source, Storage, default, "LazyTensorStorage(10_000)")
    return storage


def made_sampler(component: str, source: SamplerSource | None, default: Callable[[], Any]) -> Sampler:
    """The sampler of a buffer; arguments and errors as for `_made`."""
    sampler: Sampler = _made(component, "sampler", source, Sampler, default, "RandomSampler()")
    return sampler


def made_writer(component: str, source: WriterSource | None, default: Callable[[], Any]) -> Writer:
    """The writer of a buffer; arguments and errors as for `_made`."""
    writer: Writer = _made(component, "writer", source, Writer, default, "RoundRobinWriter()")
    return writer


def nothing() -> None:
    """What there is in place of None where a part must be given: no part."""


def _made(component: str, name: str, source: Any, kind: type[Any], default: Callable[[], Any], example: str) -> Any:
    """A part: `source` itself, what it makes, or the default.

    Args:
        component: the buffer, for messages.
        name: the argument.
        source: an object of `kind`, a callable that makes one, or None.
        kind: what a part has to be.
        default: makes the part when `source` is None.
        example: such a part, for messages.
    Raises:
        TypeError: it is, or makes, something else.
    """
    if source is None:
        source = default
    needs = _needs_arguments(source)
    part = source() if callable(source) and not isinstance(source, kind) and not needs else source
    if not isinstance(part, kind):
        fix = f"Pass an object, such as {example}, or a callable that makes one without arguments"
        expected = f"an instance of {kind.__name__}"
        raise TypeError(message(component, name, expected=expected, found=repr(part), fix=fix))
    return part


def _needs_arguments(source: Any) -> bool:
    """Whether `source` is a class that makes nothing without arguments."""
    if not isinstance(source, type):
        return False
    parameters = inspect.signature(source).parameters.values()
    return any(
        each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in parameters
    )


@final
class FirstUse:
    """Stands in for the lock of a buffer whose parts are not made yet: whoever enters first makes them.

    Args:
        build: makes the parts, unless that is done, and returns the lock around them.
    """

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._lock: Any = None

    def __enter__(self) -> object:
        lock = self._build()
        entered: object = lock.__enter__()
        self._lock = lock
        return entered

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> bool | None:
        released: bool | None = self._lock.__exit__(kind, error, traceback)
        return released
