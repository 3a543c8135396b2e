"""The parts of a buffer and what is told of them: storage, sampler, writer, transforms, and the lock around them."""

import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn

from rl_buffers._arguments import named_arguments, whole_number
from rl_buffers._buffer_lock import Lock, RingLock, RLock, buffer_lock
from rl_buffers._part_sources import (
    FirstUse,
    PartSources,
    SamplerSource,
    StorageSource,
    Transform,
    WriterSource,
    made_sampler,
    made_storage,
    made_writer,
)
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

    _storage: Storage
    _sampler: Sampler
    _writer: Writer

    @named_arguments
    def __init__(
        self,
        *,
        storage: StorageSource | None = None,
        sampler: SamplerSource | None = None,
        writer: WriterSource | None = None,
        collate_fn: Callable[[Any], Any] | None = None,
        batch_size: int | None = None,
        transform: Transform | None = None,
        transform_factory: Callable[[], Transform] | None = None,
        generator: torch.Generator | None = None,
        prefetch: int | None = None,
        pin_memory: bool = False,
        dim_extend: int | None = None,
        shared: bool = False,
        compilable: bool | None = None,
        delayed_init: bool | None = None,
    ) -> None:
        for name, given, is_right, expected in (
            ("collate_fn", collate_fn, callable(collate_fn), "a callable"),
            ("generator", generator, isinstance(generator, torch.Generator), "a torch.Generator"),
            ("transform", transform, callable(transform), "a callable"),
            ("transform_factory", transform_factory, callable(transform_factory), "a callable"),
        ):
            if given is not None and not is_right:
                raise TypeError(message(self._name, name, expected=expected, found=repr(given)))
        if transform is not None and transform_factory is not None:
            raise ValueError(message(self._name, "transform and transform_factory", fix="Give one of them"))
        self._batch_size = None if batch_size is None else self._valid_batch_size(batch_size)
        self._collate_fn = collate_fn
        self._transforms: list[Transform] = []
        self._inverses: list[Callable[[Any], Any]] = []
        self._generator = generator
        self._saves = threading.RLock()
        depth = 0 if prefetch is None else whole_number(self._name, "prefetch", prefetch, least=0)
        self._ahead = Lookahead(depth) if depth else None
        self._is_ahead = self._ahead is not None
        self._ensemble: weakref.WeakMethod[Callable[[], None]] | None = None
        self._given_dim = None if dim_extend is None else whole_number(self._name, "dim_extend", dim_extend, least=0)
        self._dim_extend = 0
        self._gives_room = False
        self._is_pinned = pin_memory
        if pin_memory:
            assert_can_pin(self._name)
        self._is_shared = shared
        self._is_compilable = bool(compilable)
        self._iterator: Iterator[Any] | None = None
        self._written = 0
        self._add_name = f"{self._name}.add"
        self._sources: PartSources | None = PartSources(storage, sampler, writer, transform, transform_factory)
        self._building = threading.Lock()
        self._lock: Any = FirstUse(self._built)  # threading.RLock is a function, not a type
        is_delayed = transform_factory is not None if delayed_init is None else delayed_init
        if not is_delayed:
            self._built()

    def _built(self) -> Lock:
        """The lock around the parts, which are made now if they have not been."""
        with self._building:
            sources = self._sources
            if sources is not None:
                self._storage = made_storage(self._name, sources.storage, default_storage)
                self._sampler = made_sampler(self._name, sources.sampler, RandomSampler)
                self._writer = made_writer(self._name, sources.writer, RoundRobinWriter)
                self._assert_fits()
                factory = sources.transform_factory
                transform = sources.transform if factory is None else factory()
                if transform is not None:
                    self._transforms, self._inverses = self._with(0, transform, invert=False)
                lock = buffer_lock(self._name, self._storage, self._sampler, self._writer)
                if not isinstance(lock, RingLock):
                    self._writer.attach(self._storage)
                self._sources = None
                self._lock = lock
        lock_now: Lock = self._lock
        return lock_now

    def _assert_fits(self) -> None:
        """The storage goes with what the buffer was told."""
        ring = self._storage.ring
        is_shared = ring is not None and ring.is_shared
        if self._is_ahead:
            self._assert_can_be_ahead()
        if self._is_compilable and (is_shared or self._is_shared):
            problem = "compilable=True for rows that several processes share: compiled code cannot wait for them"
            raise ValueError(message(self._name, problem, fix="Leave compilable out"))
        if self._is_shared and not is_shared:
            raise self._not_shared()
        self._dim_extend = self._valid_dim_extend(self._given_dim)
        self._gives_room = self._sampler.consumes_rows and self._storage.ndim == 1 and not is_shared

    def _not_shared(self) -> ValueError:
        fix = "Give it LazyTensorStorage(max_size, shared_init=True), or a LazyMemmapStorage with that"
        return ValueError(message(self._name, f"{self._storage!r} is not shared between processes", fix=fix))

    def share(self, shared: bool = True) -> Self:
        """Assert that the rows may be used by several processes at once, each with this buffer, pickled, or its own.

        Args:
            shared: False asserts nothing.
        Raises:
            ValueError: the storage is not one that processes share.
        """
        self._built()
        ring = self._storage.ring
        if shared and (ring is None or not ring.is_shared):
            raise self._not_shared()
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Everything but locks and threads; what is written meanwhile may or may not be part of it."""
        with self._building:
            state = self.__dict__.copy()
        if state["_sources"] is None:
            with self._lock:
                if self._is_ahead:
                    self._take_back()
                state = self.__dict__.copy()
                state["_lock"] = self._lock.seen if isinstance(self._lock, RingLock) else None
        else:
            state["_lock"] = None
        state["_ahead"] = 0 if self._ahead is None else self._ahead.depth
        beside: dict[str, Any] = {"_building": None, "_iterator": None, "_saves": None, "_ensemble": None}
        return {**state, **beside, "_saving": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on with copies of the parts, or the same files."""
        self.__dict__.update(state)
        self._ahead = Lookahead(state["_ahead"]) if state["_ahead"] else None
        self._is_ahead = self._ahead is not None
        self._building = threading.Lock()
        self._saves = threading.RLock()
        if self._sources is None:
            self._lock = buffer_lock(self._name, self._storage, self._sampler, self._writer, seen=state["_lock"])
        else:
            self._lock = FirstUse(self._built)

    @property
    def _name(self) -> str:
        return type(self).__name__

    @property
    def storage(self) -> Storage:
        """Where the rows are."""
        if self._sources is not None:
            self._built()
        return self._storage

    @property
    def sampler(self) -> Sampler:
        """What chooses rows."""
        if self._sources is not None:
            self._built()
        return self._sampler

    @property
    def writer(self) -> Writer:
        """What decides where rows go."""
        if self._sources is not None:
            self._built()
        return self._writer

    @property
    def batch_size(self) -> int | None:
        """Rows in a batch when `sample` is not told."""
        return self._batch_size

    @property
    def initialized(self) -> bool:
        """Whether storage, sampler, writer and transform are made; with `delayed_init` at first use."""
        return self._sources is None

    @property
    def write_count(self) -> int:
        """Rows given to `extend` and `add` so far, as transforms made them; those overwritten since count too."""
        return self._written

    def __len__(self) -> int:
        """Number of rows stored; with a sampler that consumes rows, of those that can still be drawn."""
        if self._sources is not None:
            self._built()
        if not self._sampler.consumes_rows:
            return len(self._storage)
        with self._lock:
            if self._is_ahead:
                self._take_back()
            return self._sampler.left(self._storage)

    def __repr__(self) -> str:
        if self._sources is not None:
            return f"{self._name}(not built yet, batch_size={self._batch_size})"
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
            self._transforms, self._inverses = self._with(index, transform, invert=invert)
        return self

    def _with(
        self, index: int, transform: Transform, *, invert: bool
    ) -> tuple[list[Transform], list[Callable[[Any], Any]]]:
        """The transforms and one more; and those that act on what is stored, in their order."""
        transforms = self._transforms.copy()
        transforms.insert(index, InvertedTransform(transform) if invert else transform)
        return transforms, [each.inv for each in reversed(transforms) if isinstance(each, InverseTransform)]

    def join(self, lock: RLock, take_back: Callable[[], None]) -> None:
        """Batches of this buffer and of others are chosen ahead by an ensemble.

        Args:
            lock: takes the place of this buffer's own.
            take_back: a method of the ensemble, called under the lock before this buffer changes or is drawn from.
        Raises:
            ValueError: its batches are chosen ahead already, or other processes write to its storage.
        """
        self._built()
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


def default_storage() -> Storage:
    """The storage of a buffer that is given none."""
    return ListStorage(1000)
