"""Saving while the program goes on."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import final


@final
class PendingSave:
    """A save under way; the program ends only after it.

    Args:
        save: writes what nobody changes.
        copied: how many rows were copied in memory so far.
    """

    def __init__(self, save: Callable[[], None], copied: Callable[[], int]) -> None:
        self._copied = copied
        self._result: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(save,), name="rl-buffers-save")
        self._thread.start()

    def _run(self, save: Callable[[], None]) -> None:
        try:
            save()
        except BaseException as error:
            self._result.set_exception(error)
        else:
            self._result.set_result(None)

    @property
    def is_done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._result.done()

    @property
    def copied_rows(self) -> int:
        """How many rows were copied in memory so far, since they were overwritten before they were saved."""
        return self._copied()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait for the end.

        Args:
            timeout_s: how long at most; None for as long as it takes.
        Raises:
            TimeoutError: it is not done yet; it goes on.
            OSError: what went wrong while writing, or any other error of it; the previous save is whole.
        """
        self._result.result(timeout_s)

    def join(self) -> None:
        """Wait until it has ended, well or not."""
        self._thread.join()
