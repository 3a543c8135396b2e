"""Saving and loading of buffers."""

from pathlib import Path
from typing import Any

from rl_buffers._buffer_parts import BufferParts
from rl_buffers._save import PendingSave
from rl_buffers._state import buffer_state, load_buffer, load_buffer_state, save_buffer
from rl_buffers.checkpointers import StorageCheckpointerBase


class SavedBuffer(BufferParts):
    """See `ReplayBuffer`; its state, and checkpoints of it."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the next batches: rows, ring, pass, generator, transforms that are modules.

        With `generator=None` batches are drawn from torch's global generator, whose state is not part of it.
        """
        with self._lock:
            if self._is_ahead:
                self._take_back()
            parts = (self._storage, self._sampler, self._writer, self._generator, self._modules())
            return {**buffer_state(*parts), "write_count": self._written}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state: the next batches are those that the saved buffer would have given, bit by bit.

        A load that is interrupted leaves the buffer empty.

        Raises:
            SpecError: the state does not fit (capacity, keys, shapes, dtypes, parts); all differences are listed and
                the buffer is unchanged.
        """
        with self._lock:
            if self._is_ahead:
                self._take_back()
            parts = (self._storage, self._sampler, self._writer, self._generator, self._modules())
            try:
                load_buffer_state(self._name, state, *parts)
            except KeyboardInterrupt:
                self._forget()
                raise
            self._written = state.get("write_count", len(self._storage))

    def dumps(self, path: str | Path, *, checkpointer: StorageCheckpointerBase | None = None) -> None:
        """Save the state in the folder `path`; what was saved there before stays whole until the new save is.

        Args:
            path: the folder.
            checkpointer: how rows become files; None for `TensorStorageCheckpointer`, which writes what changed since
                the last save, or `ListStorageCheckpointer` for rows in lists.
        Raises:
            OSError: the disk has no room for it; the earlier save is whole.
        """
        with self._lock:
            if self._is_ahead:
                self._take_back()
            parts = (self._storage, self._sampler, self._writer, self._generator, self._modules())
            save_buffer(self._name, Path(path), *parts, checkpointer, {"write_count": self._written})

    def dumps_in_background(self, path: str | Path) -> PendingSave:
        """Save as `dumps` does while the program goes on.

        What is saved is the state at the time of this call, copied in memory before it returns; what is written to the
        buffer afterwards is not part of it.

        Returns:
            The save under way: `wait()` for its end, which raises what went wrong.
        """
        return PendingSave(Path(path), self.state_dict())

    def loads(self, path: str | Path) -> None:
        """Load what `dumps` saved, by whichever checkpointer. See `load_state_dict`.

        Raises:
            FileNotFoundError: no save in the folder.
            SpecError: it does not fit, or its files are damaged or missing; nothing was changed.
        """
        with self._lock:
            if self._is_ahead:
                self._take_back()
            parts = (self._storage, self._sampler, self._writer, self._generator, self._modules())
            try:
                state = load_buffer(self._name, Path(path), *parts)
            except KeyboardInterrupt:
                self._forget()
                raise
            self._written = state.get("write_count", len(self._storage))
