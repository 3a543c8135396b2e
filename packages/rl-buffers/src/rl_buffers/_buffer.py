"""What all replay buffers share: a storage, a writer and a sampler behind one lock."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from rl_buffers._index import Index, row_numbers
from rl_buffers._layout import stack_rows
from rl_buffers._state import buffer_state, load_buffer_state, read_folder, write_folder
from rl_buffers._storage import Storage
from rl_buffers.samplers import RandomSampler, Sampler
from rl_buffers.storages import ListStorage
from rl_buffers.transforms import InverseTransform, KeepingTransform
from rl_buffers.writers import RoundRobinWriter, Writer
from rl_specs import SpecError, message


class BufferBase(ABC):
    """See `ReplayBuffer`; buffers differ in what they accept and in what they add to a batch."""

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
        self._lock = threading.RLock()
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
            back for now.
        Raises:
            SpecError: as for `extend`.
        """
        with self._lock:
            row = self._accept(row, "add")
            if self._inverses:
                data = self._stored_form([row])
                return None if _is_empty(data) else int(self._extend(data, "add")[-1])
            block = self._storage.check_row(row, f"{self._name}.add")
            index = self._writer.add(self._storage, block)
            self._sampler.add(self._storage, index)
            return index

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
        with self._lock:
            rows, info = self._draw(batch_size)
        batch = self._finish(rows, info)
        return (batch, info) if return_info else batch

    def __iter__(self) -> Iterator[Any]:
        """Batches of one pass: each row once with `SamplerWithoutReplacement`, without end with `RandomSampler`.

        Every iteration begins a new pass.
        """
        batch_size = self._own_batch_size("__iter__")
        with self._lock:
            self._sampler.restart()
        while True:
            with self._lock:
                self._assert_rows()
                count = self._sampler.next_batch_size(self._storage, batch_size)
                if count == 0:
                    return
                rows, info = self._draw(count)
            yield self._finish(rows, info)

    def __getitem__(self, index: Index) -> Any:
        """Copy of a row (integer), or of several (range, int64 tensor, list, mask `[len]`).

        Several rows pass through `collate_fn` and the transforms, as in `sample`; a single row is returned as stored.
        """
        with self._lock:
            where = row_numbers(index, len(self._storage), self._name)
            if isinstance(where, int):
                return self._storage.read_row(where)
            numbers = torch.arange(where.start, where.stop) if isinstance(where, slice) else where
            rows = self._storage.read(where)
        return self._finish(rows, {"index": numbers.to(self._storage.device)})

    def __setitem__(self, index: Index, data: Any) -> None:
        """Overwrite stored rows; neither the writer's place nor the sampler's pass changes."""
        with self._lock:
            where = row_numbers(index, len(self._storage), self._name)
            component = f"{self._name}.__setitem__"
            data = self._accept(data, "__setitem__")
            if isinstance(where, int):
                self._storage.write(where, self._storage.check_row(data, component))
                self._sampler.overwrite(self._storage, where)
                return
            count = where.stop - where.start if isinstance(where, slice) else where.numel()
            block = self._storage.check(data, component)
            if block.count != count:
                raise SpecError(message(component, "number of rows", expected=count, found=block.count))
            if count:
                self._storage.write(where, block)
                self._sampler.overwrite(self._storage, where)

    def empty(self) -> None:
        """Forget all rows, those that transforms keep back too. Memory and layout of the rows stay as they are."""
        with self._lock:
            self._storage.clear()
            self._writer.clear()
            self._sampler.clear()
            for transform in self._transforms:
                if isinstance(transform, KeepingTransform):
                    transform.clear()

    def append_transform(self, transform: Callable[[Any], Any]) -> None:
        """Apply a callable to every batch read from now on, after those appended before.

        An `InverseTransform` also acts on what `extend` and `add` store from now on, before those appended earlier,
        one call after the other under the lock. What `buffer[...] = rows` overwrites is stored as given.
        """
        if not callable(transform):
            raise TypeError(message(self._name, "transform", expected="a callable", found=repr(transform)))
        self._transforms.append(transform)
        if isinstance(transform, InverseTransform):
            self._inverses.insert(0, transform.inv)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the next batches: rows, ring, pass, generator, transforms that are modules.

        With `generator=None` batches are drawn from torch's global generator, whose state is not part of it.
        """
        with self._lock:
            modules = [transform for transform in self._transforms if isinstance(transform, nn.Module)]
            return buffer_state(self._storage, self._sampler, self._writer, self._generator, modules)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state: the next batches are those that the saved buffer would have given, bit by bit.

        Raises:
            SpecError: the state does not fit (capacity, keys, shapes, dtypes, parts); all differences are listed and
                the buffer is unchanged.
        """
        with self._lock:
            modules = [transform for transform in self._transforms if isinstance(transform, nn.Module)]
            load_buffer_state(self._name, state, self._storage, self._sampler, self._writer, self._generator, modules)

    def dumps(self, path: str | Path) -> None:
        """Save the state in the folder `path`; what was there stays whole until the new file replaces it."""
        write_folder(Path(path), self.state_dict())

    def loads(self, path: str | Path) -> None:
        """Load what `dumps` saved. See `load_state_dict`."""
        self.load_state_dict(read_folder(self._name, Path(path)))

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
        return batch

    def _stored_form(self, data: Any) -> Any:
        """`data` after the transforms that act on what is stored; a list of rows is stacked first."""
        if type(data) is list:
            data = stack_rows(data, self._name)
        for inverse in self._inverses:
            data = inverse(data)
        return data

    def _extend(self, data: Any, method: str) -> Tensor:
        block = self._storage.check(data, f"{self._name}.{method}")
        index = self._writer.extend(self._storage, block)
        if block.count:
            self._sampler.extend(self._storage, index)
        return index

    def _collate(self, rows: Any) -> Any:
        if self._collate_fn is not None:
            return self._collate_fn(rows)
        return rows if self._storage.is_stacked else stack_rows(rows, self._name)

    def _draw(self, batch_size: int) -> tuple[Any, dict[str, Any]]:
        self._assert_rows()
        index, info = self._sampler.sample(self._storage, batch_size, self._generator)
        info["index"] = index
        return self._storage.read(index), info

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

    def _valid_batch_size(self, batch_size: int) -> int:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise ValueError(message(self._name, "batch_size", expected="an integer >= 1", found=repr(batch_size)))
        return batch_size


def _is_empty(data: Any) -> bool:
    """Whether a TensorDict has no row, or rows of no length."""
    return isinstance(data, TensorDictBase) and data.batch_size.numel() == 0
