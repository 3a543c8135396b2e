"""Saving and loading of buffers."""

from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import nn

from rl_buffers._arguments import named_arguments
from rl_buffers._buffer_parts import BufferParts, default_storage
from rl_buffers._checkpointer import Hook, checked
from rl_buffers._folder import Saving, save_folder
from rl_buffers._options import CheckpointerSource, PartOptions
from rl_buffers._part_sources import StorageSource, made_storage
from rl_buffers._rows import FrozenRows
from rl_buffers._save import PendingSave
from rl_buffers._state import (
    assert_fits,
    buffer_state,
    load_buffer,
    load_buffer_state,
    state_beside_rows,
    take_state,
)
from rl_buffers._storage import Storage
from rl_buffers.checkpointers import StorageCheckpointerBase
from rl_buffers.samplers import Sampler
from rl_buffers.writers import Writer


class SavedBuffer(BufferParts):
    """See `ReplayBuffer`; its state, and checkpoints of it."""

    _saving: PendingSave | None = None

    @named_arguments
    def __init__(self, *, checkpointer: CheckpointerSource | None = None, **options: Unpack[PartOptions]) -> None:
        if checkpointer is not None:
            source = options.get("storage")
            if isinstance(source, Storage):
                _with_checkpointer(self._name, source, checkpointer)
            else:
                options["storage"] = partial(_with_checkpointer, self._name, source, checkpointer)
        super().__init__(**options)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the next batches: rows, ring, pass, generator, transforms that are modules.

        With `generator=None` batches are drawn from torch's global generator, whose state is not part of it.
        """
        with self._lock:
            if self._is_ahead:
                self._take_back()
            return {**buffer_state(*self._state_parts()), "write_count": self._written}

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
            try:
                load_buffer_state(self._name, state, *self._state_parts())
            except KeyboardInterrupt:
                self._forget()
                raise
            self._written = state.get("write_count", len(self._storage))

    def dumps(self, path: str | Path, *, checkpointer: StorageCheckpointerBase | None = None) -> None:
        """Save the state in the folder `path`; what was saved there before stays whole until the new save is.

        Args:
            path: the folder.
            checkpointer: how rows become files; None for `storage.checkpointer`. Save hooks of both are called, those
                of the storage first.
        Raises:
            OSError: the disk has no room for it; the earlier save is whole.
            TypeError: the checkpointer does not fit the storage.
        """
        with self._saves:
            self._await_save()
            with self._lock:
                saving = self._begin_save(Path(path), checkpointer)
                save_folder(saving, self._storage)

    def dumps_in_background(
        self, path: str | Path, *, checkpointer: StorageCheckpointerBase | None = None
    ) -> PendingSave:
        """Save as `dumps` does while the program goes on.

        What is saved is the state at the time of this call; what is written to the buffer afterwards is not part of it.
        Of the rows only those are copied in memory that are overwritten before they are saved; all of them where there
        are save hooks or where other processes write, too. A save waits for the one before it of the same buffer.

        Args:
            path: the folder.
            checkpointer: see `dumps`. Its hooks are called in another thread.
        Returns:
            The save under way: `wait()` for its end, which raises what went wrong.
        """
        with self._saves:
            self._await_save()
            with self._lock:
                saving = self._begin_save(Path(path), checkpointer)
                rows = self._storage.freeze()

            def save() -> None:
                try:
                    save_folder(saving, rows)
                finally:
                    rows.release()

            try:
                self._saving = PendingSave(save, lambda: rows.copied)
            except BaseException:
                rows.release()
                raise
            return self._saving

    def loads(self, path: str | Path, *, checkpointer: StorageCheckpointerBase | None = None) -> None:
        """Load what `dumps` saved, in whichever format. See `load_state_dict`.

        Args:
            path: the folder.
            checkpointer: whose load hooks are called, before those of `storage.checkpointer`; it also reads the rows if
                the format is its own.
        Raises:
            FileNotFoundError: no save in the folder.
            SpecError: it does not fit, or its files are damaged or missing; nothing was changed.
        """
        own = self._storage.checkpointer
        readers = [own]
        if checkpointer is not None and checkpointer is not own:
            readers.insert(0, checked(f"{self._name}.loads", checkpointer, self._storage))
        with self._saves:
            self._await_save()
            with self._lock:
                if self._is_ahead:
                    self._take_back()
                try:
                    state = load_buffer(self._name, Path(path), *self._state_parts(), readers)
                except KeyboardInterrupt:
                    self._forget()
                    raise
                self._written = state.get("write_count", len(self._storage))

    dump = save = dumps
    load = loads

    def register_save_hook(self, hook: Hook) -> None:
        """Save what a callable makes of the rows; see `StorageCheckpointerBase.register_save_hook`.

        The hook belongs to `storage.checkpointer` and is not part of a checkpoint.
        """
        self._storage.register_save_hook(hook)

    def register_load_hook(self, hook: Hook) -> None:
        """Load what a callable makes of the rows saved; see `StorageCheckpointerBase.register_load_hook`.

        The hook belongs to `storage.checkpointer` and is not part of a checkpoint.
        """
        self._storage.register_load_hook(hook)

    def _begin_save(self, folder: Path, checkpointer: StorageCheckpointerBase | None) -> Saving:
        """What is saved besides the rows, and how."""
        own = self._storage.checkpointer
        checkpointer = own if checkpointer is None else checked(f"{self._name}.dumps", checkpointer, self._storage)
        hooks = own.save_hooks if checkpointer is own else own.save_hooks + checkpointer.save_hooks
        if self._is_ahead:
            self._take_back()
        state = state_beside_rows(self._sampler, self._writer, self._generator, self._modules())
        return Saving(self._name, folder, {**state, "write_count": self._written}, checkpointer, hooks)

    def begin_member_save(self, folder: Path) -> tuple[Saving, FrozenRows]:
        """What an ensemble saves of this buffer in `folder`: the state of now, and its rows until they are released."""
        with self._lock:
            return self._begin_save(folder, None), self._storage.freeze()

    def assert_member_fits(self, state: dict[str, Any], folder: Path) -> None:
        """Raise `SpecError` for what an ensemble is to load from `folder` if it does not fit, or is not whole."""
        with self._lock:
            assert_fits(self._name, state, *self._state_parts(), folder=folder, readers=[self._storage.checkpointer])

    def load_member(self, state: dict[str, Any], folder: Path) -> None:
        """Continue from a state that was found to fit. What goes wrong leaves the buffer empty."""
        with self._lock:
            if self._is_ahead:
                self._take_back()
            readers = [self._storage.checkpointer]
            try:
                take_state(self._name, state, *self._state_parts(), folder=folder, readers=readers)
            except BaseException:
                self._forget()
                raise
            self._written = state["write_count"]

    def forget_member(self) -> None:
        """Forget all rows, as a load of an ensemble failed."""
        with self._lock:
            if self._is_ahead:
                self._take_back()
            self._forget()

    def _state_parts(self) -> tuple[Storage, Sampler, Writer, torch.Generator | None, list[nn.Module]]:
        """What a state is made of."""
        return self._storage, self._sampler, self._writer, self._generator, self._modules()

    def _await_save(self) -> None:
        """Wait for the end of a save in the background, well or not: saves of one folder follow one another."""
        if self._saving is not None:
            self._saving.join()
            self._saving = None


def _with_checkpointer(component: str, source: StorageSource | None, checkpointer: CheckpointerSource) -> Storage:
    """The storage of a buffer, saved by another checkpointer than its own."""
    storage = made_storage(component, source, default_storage)
    storage.checkpointer = checkpointer() if callable(checkpointer) else checkpointer
    return storage
