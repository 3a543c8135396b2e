"""Saving while the program goes on."""

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, final

from rl_buffers._state_file import write_folder


@final
class PendingSave:
    """A save under way; the program ends only after it.

    Args:
        folder: where to.
        state: what, which nobody changes.
    """

    def __init__(self, folder: Path, state: dict[str, Any]) -> None:
        self._result: Future[None] = Future()
        self._thread = threading.Thread(target=self._save, args=(folder, state), name="rl-buffers-save")
        self._thread.start()

    def _save(self, folder: Path, state: dict[str, Any]) -> None:
        try:
            write_folder(folder, state)
        except BaseException as error:
            self._result.set_exception(error)
        else:
            self._result.set_result(None)

    @property
    def is_done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._result.done()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait for the end.

        Args:
            timeout_s: how long at most; None for as long as it takes.
        Raises:
            TimeoutError: it is not done yet; it goes on.
            OSError: what went wrong while writing, or any other error of it; the previous save is whole.
        """
        self._result.result(timeout_s)
