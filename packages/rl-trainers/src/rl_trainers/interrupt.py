"""Stopping a run cleanly on Ctrl-C."""

import signal
import sys
from types import FrameType, TracebackType
from typing import Self


class GracefulStop:
    """While entered, the first SIGINT or SIGTERM only sets `requested`; a second one aborts with `KeyboardInterrupt`.

    Signal handlers can be set in the main thread alone; elsewhere `requested` stays false and signals do what they did.

    Attributes:
        requested: whether to stop after the batch at hand.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._handle)
            except ValueError:
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if callable(handler) or isinstance(handler, int) else signal.SIG_DFL)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        print(
            f"\n{signal.Signals(number).name}: stopping after this batch and saving; once more to abort at once.",
            file=sys.stderr,
            flush=True,
        )
