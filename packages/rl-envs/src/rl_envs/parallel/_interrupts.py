"""Work that must not stop half-way, whatever signals come: their handlers run after it."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self, TypeAlias, final

_Handler: TypeAlias = Callable[[int, FrameType | None], Any]


@final
class DeferredInterrupts:
    """A block at whose end the handlers of the signals that came in it are called, that of Ctrl-C too.

    Handlers in Python run in the main thread, between any two of its instructions; in other threads there is nothing to
    put off. Signals that have no handler in Python do what they do, and a fork made in the block has the handlers that
    stood before it.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, _Handler] = {}
        self._came: list[int] = []
        self._owner = os.getpid()
        self._is_lifted = False
        self._is_over = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            try:
                for number in signal.valid_signals():
                    handler = signal.getsignal(number)
                    if callable(handler):  # not what the system or native code does by itself
                        self._handlers[number] = handler
                        signal.signal(number, self._note)
            except BaseException:  # of a handler that was still in its place
                self._end()
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    @contextlib.contextmanager
    def lifted(self) -> Iterator[None]:
        """A wait inside the block, in which handlers are called at once, until one of them raises."""
        self._is_lifted = True
        try:
            came, self._came = self._came, []
            for number in came:
                self._note(number, None)
            yield
        finally:
            self._is_lifted = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._is_over or os.getpid() != self._owner:
            self._handlers[number](number, frame)
        elif self._is_lifted:
            self._is_lifted = False
            self._handlers[number](number, frame)
            self._is_lifted = True
        else:
            self._came.append(number)

    def _end(self) -> None:
        self._is_over = True
        try:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
        finally:
            self._call_handlers()

    def _call_handlers(self) -> None:
        """All of them, though one raises."""
        if self._came:
            number = self._came.pop(0)
            try:
                signal.raise_signal(number)
            finally:
                self._call_handlers()
