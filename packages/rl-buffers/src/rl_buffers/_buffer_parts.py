"""The parts of a buffer and what is told of them: storage, sampler, writer, transforms, and the lock around them."""

import weakref
from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn

from rl_buffers._arguments import named_arguments, whole_number
from rl_buffers._buffer_lock import Lock, RingLock, RLock, buffer_lock
from rl_buffers._pinned import assert_can_pin
from rl_buffers._prefetch import Lookahead
from rl_buffers._storage import Storage
from rl_buffers.samplers import RandomSampler, Sampler
from rl_buffers.storages import ListStorage
from rl_buffers.transforms import InverseTransform, InvertedTransform
from rl_buffers.writers import RoundRobinWriter, Writer
from rl_specs import message


class BufferParts:
    """See `ReplayBuffer`; what it is made of."""

    @named_arguments
    def __init__(
        self,
        *,
        storage: Storage | None = None,
        sampler: Sampler | None = None,
        writer: Writer | None = None,
        collate_fn: Callable[[Any], Any] | None = None,
        batch_size: int | None = None,
        transform: Callable[[Any], Any] | None = None,
        generator: torch.Generator | None = None,
        prefetch: int | None = None,
        pin_memory: bool = False,
        dim_extend: int | None = None,
    ) -> None:
        self._storage = storage if storage is not None else ListStorage(1000)
        self._sampler = sampler if sampler is not None else RandomSampler()
        self._writer = writer if writer is not None else RoundRobinWriter()
        parts = (
            ("storage", self._storage, Storage, "LazyTensorStorage(10_000)"),
            ("sampler", self._sampler, Sampler, "RandomSampler()"),
            ("writer", self._writer, Writer, "RoundRobinWriter()"),
        )
        for name, part, kind, example in parts:
            if not isinstance(part, kind):
                fix = f"Pass an object, such as {example}"
                expected = f"an instance of {kind.__name__}"
                raise TypeError(message(self._name, name, expected=expected, found=repr(part), fix=fix))
        self._batch_size = None if batch_size is None else self._valid_batch_size(batch_size)
        self._collate_fn = collate_fn
        self._transforms: list[Callable[[Any], Any]] = []
        self._inverses: list[Callable[[Any], Any]] = []
        self._generator = generator
        self._lock: Lock = buffer_lock(self._name, self._storage, self._sampler, self._writer)
        depth = whole_number(self._name, "prefetch", prefetch or 0, least=0)
        self._ahead = Lookahead(depth) if depth else None
        self._is_ahead = self._ahead is not None
        self._ensemble: weakref.WeakMethod[Callable[[], None]] | None = None
        self._dim_extend = self._valid_dim_extend(dim_extend)
        if self._ahead is not None:
            self._assert_can_be_ahead()
        self._is_pinned = pin_memory
        if pin_memory:
            assert_can_pin(self._name)
        self._iterator: Iterator[Any] | None = None
        self._written = 0
        self._add_name = f"{self._name}.add"
        if not isinstance(self._lock, RingLock):
            self._writer.attach(self._storage)
        if transform is not None:
            self.append_transform(transform)

    @property
    def _name(self) -> str:
        return type(self).__name__

    @property
    def storage(self) -> Storage:
        """Where the rows are."""
        return self._storage

    @property
    def sampler(self) -> Sampler:
        """What chooses rows."""
        return self._sampler

    @property
    def writer(self) -> Writer:
        """What decides where rows go."""
        return self._writer

    @property
    def batch_size(self) -> int | None:
        """Rows in a batch when `sample` is not told."""
        return self._batch_size

    @property
    def write_count(self) -> int:
        """Rows given to `extend` and `add` so far, as transforms made them; those overwritten since count too."""
        return self._written

    def __len__(self) -> int:
        """Number of rows stored."""
        return len(self._storage)

    def __repr__(self) -> str:
        return (
            f"{self._name}(storage={self._storage!r}, sampler={self._sampler!r}, writer={self._writer!r}, "
            f"batch_size={self._batch_size})"
        )

    def append_transform(self, transform: Callable[[Any], Any], *, invert: bool = False) -> Self:
        """Apply a callable to every batch read from now on, after those appended before; see `insert_transform`."""
        return self.insert_transform(len(self._transforms), transform, invert=invert)

    def insert_transform(self, index: int, transform: Callable[[Any], Any], *, invert: bool = False) -> Self:
        """Apply a callable to every batch read from now on.

        An `InverseTransform` also acts on what `extend` and `add` store from now on, in the opposite order, one call
        after the other under the lock. What `buffer[...] = rows` overwrites is stored as given.

        Args:
            index: its place among the transforms, as in `list.insert`.
            transform: maps a batch to a batch. With `prefetch` it runs in another thread than the caller's.
            invert: the callable acts on what is stored, and its inverse, where it has one, on batches.
        Returns:
            The buffer.
        """
        if not callable(transform):
            raise TypeError(message(self._name, "transform", expected="a callable", found=repr(transform)))
        with self._lock:
            if self._is_ahead:
                self._take_back()
            transforms = self._transforms.copy()
            transforms.insert(index, InvertedTransform(transform) if invert else transform)
            self._inverses = [each.inv for each in reversed(transforms) if isinstance(each, InverseTransform)]
            self._transforms = transforms
        return self

    def join(self, lock: RLock, take_back: Callable[[], None]) -> None:
        """Batches of this buffer and of others are chosen ahead by an ensemble.

        Args:
            lock: takes the place of this buffer's own.
            take_back: a method of the ensemble, called under the lock before this buffer changes or is drawn from.
        Raises:
            ValueError: its batches are chosen ahead already, or other processes write to its storage.
        """
        self._assert_can_be_ahead()
        if self._ahead is not None:
            fix = "Give prefetch to the ensemble alone"
            raise ValueError(message(self._name, "a member of an ensemble with prefetch has its own", fix=fix))
        if self._ensemble is not None and self._ensemble() not in (None, take_back):
            fix = "Close the other one first, or give prefetch to one of them"
            raise ValueError(message(self._name, "it is a member of another ensemble with prefetch", fix=fix))
        if isinstance(self._lock, RingLock):
            self._lock.join(lock)
        else:
            self._lock = lock
        self._ensemble, self._is_ahead = weakref.WeakMethod(take_back), True

    def leave(self) -> None:
        """The ensemble chooses nothing ahead any more."""
        self._ensemble, self._is_ahead = None, self._ahead is not None

    def _take_back(self) -> None:
        """Take back the batches that were chosen ahead; called under the lock before the buffer changes."""
        if self._ahead is not None:
            self._ahead.drop(self._rewind)
        take_back = None if self._ensemble is None else self._ensemble()
        if take_back is not None:
            take_back()

    def _assert_can_be_ahead(self) -> None:
        if self._storage.ring is not None and self._storage.ring.is_shared:
            fix = "Leave prefetch out"
            problem = "prefetch on a storage that other processes write to: what they write cannot take batches back"
            raise ValueError(message(self._name, problem, fix=fix))

    def close(self) -> None:
        """End the thread of `prefetch`; the buffer can be used on, without it. May be called again."""
        if self._ahead is not None:
            with self._lock:
                self._ahead.drop(self._rewind)
            self._ahead.close()

    def _attach(self) -> None:
        """Tell writer and sampler of the rows that are there, after a write that was interrupted."""
        self._writer.attach(self._storage)
        if len(self._storage):
            self._sampler.clear()
            self._sampler.extend(self._storage, self._writer.order(self._storage))

    def _forget(self) -> None:
        """Forget all rows, also when that is interrupted."""
        try:
            self._storage.clear()
            self._sampler.clear()
        except KeyboardInterrupt:
            self._storage.clear()
            self._sampler.clear()
            raise
        finally:
            self._writer.attach(self._storage)

    def _modules(self) -> list[nn.Module]:
        """Transforms that have a state."""
        return [transform for transform in self._transforms if isinstance(transform, nn.Module)]

    def _mark(self) -> tuple[Any, Tensor | None]:
        """Where sampler and generator are."""
        return self._sampler.mark(), None if self._generator is None else self._generator.get_state()

    def _rewind(self, mark: tuple[Any, Tensor | None]) -> None:
        """Take back the draws made since `mark`."""
        place, random_state = mark
        self._sampler.rewind(place)
        if self._generator is not None and random_state is not None:
            self._generator.set_state(random_state)

    def _assert_rows(self) -> None:
        if len(self._storage) == 0:
            raise RuntimeError(
                message(self._name, "cannot sample: the buffer is empty", fix="Call extend or add first")
            )

    def _own_batch_size(self, method: str) -> int:
        if self._batch_size is None:
            raise ValueError(
                message(
                    f"{self._name}.{method}",
                    "the batch size is not known",
                    fix=f"Give batch_size to {self._name}(...) or to sample(batch_size)",
                )
            )
        return self._batch_size

    def _valid_dim_extend(self, dim: int | None) -> int:
        """Which dimension of data is to be exchanged with the first; storages of several lanes do that themselves."""
        ndim = self._storage.ndim
        if dim is None or whole_number(self._name, "dim_extend", dim, least=0) == ndim - 1:
            return 0
        if ndim > 1:
            expected = f"{ndim - 1}, which is where the storage has time"
            raise ValueError(message(self._name, "dim_extend", expected=expected, found=dim))
        return dim

    def _valid_batch_size(self, batch_size: int) -> int:
        return whole_number(self._name, "batch_size", batch_size, least=1)
