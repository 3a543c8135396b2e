"""What all replay buffers share: a storage, a writer and a sampler behind one lock."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from rl_buffers._arguments import named_arguments
from rl_buffers._buffer_lock import RingLock, buffer_lock
from rl_buffers._extend_dim import dim_first
from rl_buffers._index import Index, grid_numbers, row_numbers
from rl_buffers._layout import fold, stack_rows
from rl_buffers._pinned import assert_can_pin, pinned
from rl_buffers._prefetch import Lookahead, Steps
from rl_buffers._priority_values import Numbers
from rl_buffers._save import PendingSave
from rl_buffers._state import buffer_state, load_buffer, load_buffer_state, save_buffer
from rl_buffers._storage import Block, Storage, Where
from rl_buffers._writer import write_whole
from rl_buffers.checkpointers import StorageCheckpointerBase
from rl_buffers.samplers import RandomSampler, Sampler
from rl_buffers.storages import ListStorage
from rl_buffers.transforms import InverseTransform, InvertedTransform, KeepingTransform
from rl_buffers.writers import RoundRobinWriter, Writer
from rl_specs import NestedKey, SpecError, message


class BufferBase(ABC):
    """See `ReplayBuffer`; buffers differ in what they accept and in what they add to a batch."""

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
        self._lock = buffer_lock(self._name, self._storage, self._sampler, self._writer)
        self._ahead = None if not self._whole_number("prefetch", prefetch or 0) else Lookahead(prefetch or 0)
        self._dim_extend = self._valid_dim_extend(dim_extend)
        if self._ahead is not None and self._storage.ring is not None and self._storage.ring.is_shared:
            fix = "Leave prefetch out"
            problem = "prefetch on a storage that other processes write to: what they write cannot take batches back"
            raise ValueError(message(self._name, problem, fix=fix))
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

    def extend(self, data: Any) -> Tensor:
        """Store a batch of rows.

        Args:
            data: values whose first dimension counts rows, or a list of rows. They are copied.
        Returns:
            int64 `[n]`, the numbers of the rows written; of a batch larger than the storage, the last `max_size` rows.
            Transforms that act on what is stored (`InverseTransform`) decide how many rows there are.
        Raises:
            SpecError: the data differ from what is stored; all differences are listed and nothing is written.
        """
        with self._lock:
            if self._ahead is not None:
                self._ahead.drop(self._rewind)
            if self._dim_extend and type(data) is not list:
                data = dim_first(data, self._dim_extend, f"{self._name}.extend")
            data = self._accept(data, "extend")
            if self._inverses:
                data = self._stored_form(data)
                if _is_empty(data):
                    return torch.empty(0, dtype=torch.int64)
            return self._extend(data, "extend")

    def add(self, row: Any) -> int | None:
        """Store one row, given without the dimension that counts rows.

        Returns:
            The number of the row; of the last row, where a transform made several of it, and None where one keeps it
            back for now, or where the writer does not keep it.
        Raises:
            SpecError: as for `extend`.
        """
        with self._lock:
            if self._ahead is not None:
                self._ahead.drop(self._rewind)
            row = self._accept(row, "add")
            if self._inverses:
                data = self._stored_form([row])
                index = torch.empty(0) if _is_empty(data) else self._extend(data, "add")
                return int(index[-1]) if len(index) else None
            row = self._writer.prepare(self._storage, row, is_row=True)
            block = self._storage.check_row(row, self._add_name)
            key = self._priority_entry(row, block)
            try:
                if block.count == 1:
                    place = self._writer.add(self._storage, block)
                    if place is not None:
                        self._sampler.add(self._storage, place)
                else:
                    places = self._writer.extend(self._storage, block)
                    self._sampler.extend(self._storage, places)
                    place = int(places[-1])
                if key is not None and place is not None:
                    self._prioritize(key, place if block.count == 1 else places)
            except KeyboardInterrupt:
                self._attach()
                raise
            self._written += block.count
            return place

    def sample(self, batch_size: int | None = None, return_info: bool = False) -> Any:
        """A batch of rows; it is a copy and belongs to the caller.

        Args:
            batch_size: how many rows; None for the buffer's own.
            return_info: also return what the sampler says of the batch, `"index"` (int64 `[n]`) among it.
        Returns:
            The batch after `collate_fn` and transforms, or `(batch, info)`.
        Raises:
            RuntimeError: the buffer is empty.
            ValueError: no batch size, or more rows than can be drawn without replacement.
        """
        if batch_size is None:
            batch_size = self._own_batch_size("sample")
        elif batch_size is not self._batch_size:
            batch_size = self._valid_batch_size(batch_size)
        if self._ahead is None:
            with self._lock:
                index, info = self._choose(batch_size)
                rows = self._read(index, info)
            batch = self._finish(rows, info)
        else:
            taken = self._ahead.take(batch_size, False, self._steps())
            assert taken is not None
            batch, info = taken
        return (batch, info) if return_info else batch

    def next(self) -> Any:
        """The next batch of an iteration that the buffer keeps itself; None at the end of its pass, once."""
        if self._iterator is None:
            self._iterator = iter(self)
        batch = next(self._iterator, None)
        if batch is None:
            self._iterator = None
        return batch

    def __iter__(self) -> Iterator[Any]:
        """Batches of one pass: each row once with `SamplerWithoutReplacement`, without end with `RandomSampler`.

        Every iteration begins a new pass.
        """
        batch_size = self._own_batch_size("__iter__")
        with self._lock:
            if self._ahead is not None:
                self._ahead.drop(self._rewind)
            self._sampler.restart()
        while True:
            if self._ahead is None:
                with self._lock:
                    count = self._count(batch_size, True)
                    if count == 0:
                        return
                    index, info = self._choose(count)
                    rows = self._read(index, info)
                yield self._finish(rows, info)
            else:
                taken = self._ahead.take(batch_size, True, self._steps())
                if taken is None:
                    return
                yield taken[0]

    def __getitem__(self, index: Index) -> Any:
        """Copy of a row (integer), or of several (range, int64 tensor, list, mask `[len]`), by row number.

        Where the storage has `ndim` > 1, `buffer[:]` gives all rows as `[*B, T, ...]`, and a tuple picks from that.
        Several rows pass through `collate_fn` and the transforms, as in `sample`; a single row is returned as stored.
        """
        with self._lock:
            grid = grid_numbers(index, self._storage, self._name)
            if grid is not None:
                return self._read_grid(grid)
            where = row_numbers(index, len(self._storage), self._name)
            if isinstance(where, int):
                return self._storage.read_row(where)
            numbers = torch.arange(where.start, where.stop) if isinstance(where, slice) else where
            rows = self._storage.read(where)
        return self._finish(rows, {"index": numbers.to(self._storage.device)})

    def _read_grid(self, numbers: Tensor) -> Any:
        """Rows of several lanes in the shape of their numbers."""
        if numbers.ndim == 0:
            return self._storage.read_row(int(numbers))
        flat = numbers.flatten().to(self._storage.device)
        return fold(self._finish(self._storage.read(flat), {"index": flat}), tuple(numbers.shape))

    def __setitem__(self, index: Index, data: Any) -> None:
        """Overwrite stored rows; neither the writer's place nor the sampler's pass changes."""
        with self._lock:
            if self._ahead is not None:
                self._ahead.drop(self._rewind)
            where = row_numbers(index, len(self._storage), self._name)
            component = f"{self._name}.__setitem__"
            data = self._accept(data, "__setitem__")
            data = self._writer.prepare(self._storage, data, is_row=isinstance(where, int), where=where)
            if isinstance(where, int):
                count, block = 1, self._storage.check_flat(data, component, is_single=True)
            else:
                is_grid = self._storage.ndim > 1 and isinstance(index, slice) and index == slice(None)
                check = self._storage.check if is_grid else self._storage.check_flat
                count, block = _count(where), check(data, component)
            if block.count != count:
                raise SpecError(message(component, "number of rows", expected=count, found=block.count))
            if count:
                key = self._priority_entry(data, block)
                self._writer.overwrite(self._storage, where, block)
                try:
                    write_whole(self._storage, where, block)
                    self._sampler.overwrite(self._storage, where)
                    if key is not None:
                        self._prioritize(key, where)
                except KeyboardInterrupt:
                    self._attach()
                    raise

    def update_priority(self, index: Numbers, priority: Numbers, stamp: Tensor | None = None) -> None:
        """Give rows other priorities; see `Sampler.update_priority`, which also says what is refused.

        Args:
            index: row numbers, as `info["index"]` of `sample(return_info=True)` gives them, or an integer.
            priority: a number, or one for each row, >= 0.
            stamp: `info["_stamp"]`, for rows overwritten since to keep the priorities that they have.
        """
        with self._lock:
            self._sampler.update_priority(index, priority, stamp)

    def empty(self) -> None:
        """Forget all rows, those that transforms keep back too. Memory and layout of the rows stay as they are."""
        with self._lock:
            if self._ahead is not None:
                self._ahead.drop(self._rewind)
            self._writer.clear()
            self._storage.clear()
            self._sampler.clear()
            for transform in self._transforms:
                if isinstance(transform, KeepingTransform):
                    transform.clear()

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
            if self._ahead is not None:
                self._ahead.drop(self._rewind)
            transforms = self._transforms.copy()
            transforms.insert(index, InvertedTransform(transform) if invert else transform)
            self._inverses = [each.inv for each in reversed(transforms) if isinstance(each, InverseTransform)]
            self._transforms = transforms
        return self

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the next batches: rows, ring, pass, generator, transforms that are modules.

        With `generator=None` batches are drawn from torch's global generator, whose state is not part of it.
        """
        with self._lock:
            if self._ahead is not None:
                self._ahead.drop(self._rewind)
            parts = (self._storage, self._sampler, self._writer, self._generator, self._modules())
            return {**buffer_state(*parts), "write_count": self._written}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state: the next batches are those that the saved buffer would have given, bit by bit.

        Raises:
            SpecError: the state does not fit (capacity, keys, shapes, dtypes, parts); all differences are listed and
                the buffer is unchanged.
        """
        with self._lock:
            if self._ahead is not None:
                self._ahead.drop(self._rewind)
            parts = (self._storage, self._sampler, self._writer, self._generator, self._modules())
            load_buffer_state(self._name, state, *parts)
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
            if self._ahead is not None:
                self._ahead.drop(self._rewind)
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
            if self._ahead is not None:
                self._ahead.drop(self._rewind)
            parts = (self._storage, self._sampler, self._writer, self._generator, self._modules())
            state = load_buffer(self._name, Path(path), *parts)
            self._written = state.get("write_count", len(self._storage))

    def _modules(self) -> list[nn.Module]:
        """Transforms that have a state."""
        return [transform for transform in self._transforms if isinstance(transform, nn.Module)]

    def close(self) -> None:
        """End the thread of `prefetch`; the buffer can be used on, without it. May be called again."""
        if self._ahead is not None:
            with self._lock:
                self._ahead.drop(self._rewind)
            self._ahead.close()

    @abstractmethod
    def _accept(self, data: Any, method: str) -> Any:
        """`data` as it is to be stored."""

    @abstractmethod
    def _annotate(self, batch: Any, info: dict[str, Any]) -> Any:
        """`batch` with what the sampler says of it, where such a batch has room for that."""

    def _finish(self, rows: Any, info: dict[str, Any]) -> Any:
        """Rows as read from the storage, made into a batch."""
        batch = self._annotate(self._collate(rows), info)
        for transform in self._transforms:
            batch = transform(batch)
        return pinned(batch) if self._is_pinned else batch

    def _stored_form(self, data: Any) -> Any:
        """`data` after the transforms that act on what is stored; a list of rows is stacked first."""
        if type(data) is list:
            data = stack_rows(data, self._name)
        for inverse in self._inverses:
            data = inverse(data)
        return data

    def _extend(self, data: Any, method: str) -> Tensor:
        data = self._writer.prepare(self._storage, data, is_row=False)
        block = self._storage.check(data, f"{self._name}.{method}")
        key = self._priority_entry(data, block)
        try:
            index = self._writer.extend(self._storage, block)
            if len(index):
                self._sampler.extend(self._storage, index)
                if key is not None:
                    self._prioritize(key, index)
        except KeyboardInterrupt:
            self._attach()
            raise
        self._written += block.count
        return index

    def _attach(self) -> None:
        """Tell writer and sampler of the rows that are there, after a write that was interrupted."""
        self._writer.attach(self._storage)
        if len(self._storage):
            self._sampler.clear()
            self._sampler.extend(self._storage, self._writer.order(self._storage))

    def _priority_entry(self, data: Any, block: Block) -> NestedKey | None:
        """Which entry of `data` holds priorities for its rows, found to be good ones; None where there is none."""
        return None

    def _prioritize(self, key: NestedKey, where: Where) -> None:
        """Give rows just written the priorities that are stored with them."""
        if isinstance(where, int):
            where = slice(where, where + 1)
        priority = self._storage.read_entry(key, where)
        index = torch.arange(where.start, where.stop) if isinstance(where, slice) else where
        self._sampler.update_priority(index, priority)

    def _collate(self, rows: Any) -> Any:
        if self._collate_fn is not None:
            return self._collate_fn(rows)
        return rows if self._storage.is_stacked else stack_rows(rows, self._name)

    def _count(self, batch_size: int, is_pass: bool) -> int:
        """Rows in the next batch; 0 at the end of a pass."""
        if not is_pass:
            return batch_size
        self._assert_rows()
        return self._sampler.next_batch_size(self._storage, batch_size)

    def _choose(self, count: int) -> tuple[Tensor, dict[str, Any]]:
        """Numbers of the rows of the next batch, and what is known of them."""
        self._assert_rows()
        index, info = self._sampler.sample(self._storage, count, self._generator)
        info["index"] = index
        return index, info

    def _read(self, index: Tensor, info: dict[str, Any]) -> Any:
        """The rows of a batch, as the storage gives them."""
        return self._storage.read(index)

    def _mark(self) -> tuple[Any, Tensor | None]:
        """Where sampler and generator are."""
        return self._sampler.mark(), None if self._generator is None else self._generator.get_state()

    def _rewind(self, mark: tuple[Any, Tensor | None]) -> None:
        """Take back the draws made since `mark`."""
        place, random_state = mark
        self._sampler.rewind(place)
        if self._generator is not None and random_state is not None:
            self._generator.set_state(random_state)

    def _steps(self) -> Steps:
        """What `Lookahead` needs; made anew for each call, since what it would keep would keep the buffer alive."""
        return Steps(self._lock, self._count, self._choose, self._read, self._finish, self._mark, self._rewind)

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

    def _whole_number(self, name: str, value: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(message(self._name, name, expected="an integer >= 0", found=repr(value)))
        return value

    def _valid_dim_extend(self, dim: int | None) -> int:
        """Which dimension of data is to be exchanged with the first; storages of several lanes do that themselves."""
        ndim = self._storage.ndim
        if dim is None or self._whole_number("dim_extend", dim) == ndim - 1:
            return 0
        if ndim > 1:
            expected = f"{ndim - 1}, which is where the storage has time"
            raise ValueError(message(self._name, "dim_extend", expected=expected, found=dim))
        return dim

    def _valid_batch_size(self, batch_size: int) -> int:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise ValueError(message(self._name, "batch_size", expected="an integer >= 1", found=repr(batch_size)))
        return batch_size


def _count(where: slice | Tensor) -> int:
    return where.stop - where.start if isinstance(where, slice) else where.numel()


def _is_empty(data: Any) -> bool:
    """Whether a TensorDict has no row, or rows of no length."""
    return isinstance(data, TensorDictBase) and data.batch_size.numel() == 0
