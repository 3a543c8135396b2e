"""Parts of a buffer that are exchanged for others."""

from collections.abc import Callable
from typing import Any, ClassVar

from rl_buffers._buffer_lock import SAME_RUN, RingLock, Seen, assert_shareable, buffer_lock
from rl_buffers._buffer_parts import BufferParts
from rl_buffers._part_sources import made_sampler, made_storage, made_writer, nothing
from rl_buffers._sampler import Sampler
from rl_buffers._storage import Storage
from rl_buffers._writer import Writer
from rl_specs import message


class ChangedParts(BufferParts):
    """See `ReplayBuffer`; its parts may be exchanged.

    Storages in named files bring a lock of their own: exchange the parts of a buffer on one while no other thread uses
    the buffer.
    """

    fixed_parts: ClassVar[str] = ""
    """Why the parts belong together, for buffers whose parts do."""

    def set_sampler(self, sampler: Sampler) -> Sampler:
        """Choose rows by another sampler from now on. It begins anew, with the rows that are there.

        Returns:
            The sampler that there was.
        Raises:
            TypeError: no sampler.
        """
        with self._lock:
            self._assert_free("sampler")
            new = made_sampler(self._name, sampler, nothing)
            old, self._sampler = self._sampler, new
            self._renew(SAME_RUN)
        return old

    def set_writer(self, writer: Writer) -> Writer:
        """Place rows by another writer from now on: after those that are there, a ring where the last one stopped.

        The sampler begins anew.

        Returns:
            The writer that there was.
        Raises:
            TypeError: no writer.
        """
        with self._lock:
            self._assert_free("writer")
            new = made_writer(self._name, writer, nothing)
            assert_shareable(self._name, self._storage, new)
            old, self._writer = self._writer, new
            place = old.state_dict()
            if place.keys() == {"cursor"} == new.state_dict().keys():
                new.load_state_dict(place)
            self._renew(SAME_RUN)
        return old

    def set_storage(self, storage: Storage, collate_fn: Callable[[Any], Any] | None = None) -> Storage:
        """Keep rows in another storage from now on, and draw those that it holds. Sampler and writer begin anew.

        Args:
            storage: where rows are.
            collate_fn: as for the buffer; it takes the place of the one that there was.
        Returns:
            The storage that there was, with its rows.
        Raises:
            TypeError: no storage.
            ValueError: it does not go with the buffer's other parts.
        """
        with self._lock:
            self._assert_free("storage")
            new = made_storage(self._name, storage, nothing)
            assert_shareable(self._name, new, self._writer)
            old, self._storage = self._storage, new
            try:
                self._assert_fits()
            except ValueError:
                self._storage = old
                raise
            if self._writer.state_dict().keys() == {"cursor"}:
                self._writer.load_state_dict({"cursor": 0})
            self._renew()
            self._collate_fn = collate_fn
        return old

    def _assert_free(self, name: str) -> None:
        """The part may be exchanged; batches that were made ahead are taken back."""
        if self.fixed_parts:
            raise TypeError(message(self._name, f"the {name} cannot be exchanged", fix=self.fixed_parts))
        if self._ensemble is not None and self._ensemble() is not None:
            fix = "Close the ensemble first"
            problem = f"the {name} cannot be exchanged while an ensemble makes its batches ahead"
            raise ValueError(message(self._name, problem, fix=fix))
        if self._is_ahead:
            self._take_back()

    def _renew(self, seen: Seen | None = None) -> None:
        """Tell writer and sampler of the rows that are there; `seen` is None where they are of another storage."""
        self._iterator = None
        self._assert_fits()
        self._sampler.clear()
        lock = buffer_lock(self._name, self._storage, self._sampler, self._writer, seen=seen)
        if isinstance(lock, RingLock):
            self._lock = lock
            return
        if isinstance(self._lock, RingLock):
            self._lock = lock
        self._writer.attach(self._storage)
        if len(self._storage):
            self._sampler.extend(self._storage, self._writer.order(self._storage))
