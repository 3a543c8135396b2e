"""What all replay buffers share: a storage, a writer and a sampler behind one lock."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_buffers._buffer_saves import SavedBuffer
from rl_buffers._changed_parts import ChangedParts
from rl_buffers._extend_dim import dim_first, stack_steps
from rl_buffers._index import Index, grid_numbers, row_numbers
from rl_buffers._layout import fold, stack_rows
from rl_buffers._pinned import pinned
from rl_buffers._prefetch import Steps
from rl_buffers._priority_values import Numbers
from rl_buffers._storage import Block, Where
from rl_buffers._writer import write_whole
from rl_buffers.transforms import KeepingTransform
from rl_specs import NestedKey, SpecError, message


class BufferBase(ChangedParts, SavedBuffer, ABC):
    """See `ReplayBuffer`; buffers differ in what they accept and in what they add to a batch."""

    def extend(self, data: Any, *, update_priority: bool = True) -> Tensor:
        """Store a batch of rows.

        Args:
            data: values whose first dimension counts rows, or a list of rows. They are copied.
            update_priority: whether priorities that are stored with the rows count; if not, and where there are none,
                rows enter with the largest.
        Returns:
            int64 `[n]`, the numbers of the rows written; of a batch larger than the storage, the last `max_size` rows.
            Transforms that act on what is stored (`InverseTransform`) decide how many rows there are.
        Raises:
            SpecError: the data differ from what is stored; all differences are listed and nothing is written.
        """
        with self._lock:
            if self._is_ahead:
                self._take_back()
            if type(data) is list:
                if not data:
                    return torch.empty(0, dtype=torch.int64)
            elif self._dim_extend:
                data = dim_first(data, self._dim_extend, f"{self._name}.extend")
            data = self._accept(data, "extend")
            if self._inverses:
                data = self._stored_form(data)
                if _is_empty(data):
                    return torch.empty(0, dtype=torch.int64)
            return self._extend(data, "extend", takes_priority=update_priority)

    def add(self, row: Any) -> int | None:
        """Store one row, given without the dimension that counts rows.

        Returns:
            The number of the row; of the last row, where a transform made several of it, and None where one keeps it
            back for now, or where the writer does not keep it.
        Raises:
            SpecError: as for `extend`.
        """
        with self._lock:
            if self._is_ahead:
                self._take_back()
            row = self._accept(row, "add")
            if self._inverses:
                lanes = self._storage.ndim - 1
                data = self._stored_form(row.unsqueeze(lanes) if lanes else [row])
                index = torch.empty(0) if _is_empty(data) else self._extend(data, "add")
                return int(index[-1]) if len(index) else None
            if self._gives_room:
                self._writer.offer(self._sampler.used_up(self._storage))
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
                    place = int(places[-1]) if len(places) else None
                    if place is not None:
                        self._sampler.extend(self._storage, places)
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
                if self._is_ahead:
                    self._take_back()
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
            if self._is_ahead:
                self._take_back()
            self._sampler.restart()
        while True:
            if self._ahead is None:
                with self._lock:
                    if self._is_ahead:
                        self._take_back()
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
        """Overwrite stored rows, given by number; neither the writer's place nor the sampler's pass changes.

        Where the storage has `ndim` > 1, `buffer[:] = rows` takes `[*B, T, ...]`.
        """
        with self._lock:
            if self._storage.ndim > 1 and isinstance(index, tuple):
                raise IndexError(message(self._name, "rows to overwrite", expected="row numbers", found=f"{index}"))
            if self._is_ahead:
                self._take_back()
            where = row_numbers(index, len(self._storage), self._name)
            component = f"{self._name}.__setitem__"
            grid = grid_numbers(index, self._storage, self._name)
            if grid is not None and type(data) is list:
                data = stack_steps(data, component, self._storage.ndim - 1)
            data = self._accept(data, "__setitem__")
            target = where if grid is None else grid
            data = self._writer.prepare(self._storage, data, is_row=isinstance(where, int), where=target)
            if isinstance(where, int):
                count, block = 1, self._storage.check_flat(data, component, is_single=True)
            else:
                check = self._storage.check_flat if grid is None else self._storage.check
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
            self._sampler.take_in(self._storage)
            self._sampler.update_priority(index, priority, stamp)

    def empty(self, empty_write_count: bool = True) -> None:
        """Forget all rows, those that transforms keep back too. Memory and layout of the rows stay as they are.

        Args:
            empty_write_count: count what is written from 0 again; False to count on.
        """
        with self._lock:
            if self._is_ahead:
                self._take_back()
            self._writer.clear()
            self._forget()
            for transform in self._transforms:
                if isinstance(transform, KeepingTransform):
                    transform.clear()
            if empty_write_count:
                self._written = 0

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
            if batch is None:
                raise _no_batch(self._name, transform)
        return pinned(batch) if self._is_pinned else batch

    def _stored_form(self, data: Any) -> Any:
        """`data` after the transforms that act on what is stored; a list of rows is stacked first."""
        if type(data) is list:
            data = stack_steps(data, self._name, self._storage.ndim - 1)
        for inverse in self._inverses:
            data = inverse(data)
            if data is None:
                raise _no_batch(self._name, inverse)
        return data

    def _extend(self, data: Any, method: str, *, takes_priority: bool = True) -> Tensor:
        if self._gives_room:
            self._writer.offer(self._sampler.used_up(self._storage))
        data = self._writer.prepare(self._storage, data, is_row=False)
        block = self._storage.check(data, f"{self._name}.{method}")
        key = self._priority_entry(data, block) if takes_priority else None
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

    def _steps(self) -> Steps:
        """What `Lookahead` needs; made anew for each call, since what it would keep would keep the buffer alive."""
        return Steps(self._lock, self._count, self._choose, self._read, self._finish, self._mark, self._rewind)


def _count(where: slice | Tensor) -> int:
    return where.stop - where.start if isinstance(where, slice) else where.numel()


def _no_batch(component: str, transform: object) -> TypeError:
    problem = f"the transform {transform!r}"
    return TypeError(message(component, problem, expected="what it made of the batch", found="None", fix="Return it"))


def _is_empty(data: Any) -> bool:
    """Whether a TensorDict has no row, or rows of no length."""
    return isinstance(data, TensorDictBase) and data.batch_size.numel() == 0
