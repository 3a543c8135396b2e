"""Rows that are drawn a limited number of times and then no more."""

from typing import Any, final

import torch
from torch import Tensor

from rl_buffers._sampler import Sampler
from rl_buffers._storage import Storage, Where
from rl_specs import message


@final
class ConsumingSampler(Sampler):
    """Rows drawn uniformly, without replacement within a batch, each `max_sample_count` times in all.

    A row that was drawn so often is consumed: it is in no batch any more until it is written again by `extend` or
    `add`. `buffer[...] = rows` does not bring it back. Iterating over the buffer ends when all rows are consumed, with
    a smaller batch when fewer are left than asked for.

    Consumed rows give their room back: `len(buffer)` is the number of rows that can still be drawn, as is `available`,
    and new rows are written in the places of consumed ones first, before the writer goes on round its ring, where it
    overwrites the rows it comes to whether they are consumed or not. A batch as large as the storage goes round the
    ring. Of one batch no row overwrites another. `TensorDictMaxValueWriter` ranks consumed rows below all others.
    Until they are overwritten consumed rows can be read by number, `buffer[i]` with `i` below `len(buffer.storage)`.

    Room is not given back where rows have to stay in the order of time: where the storage keeps several lanes
    (`ndim` > 1) and in a `HERReplayBuffer`; nor where other processes, which have samplers of their own, use the rows.

    Args:
        max_sample_count: how often a row is drawn, at least 1.
    Raises:
        ValueError: `max_sample_count` is out of range.
    """

    consumes_rows: bool = True

    _rows: Tensor  # all rows: those that can be drawn, then those that are consumed
    _place: Tensor  # where in _rows a row is
    _drawn: Tensor
    _count: int
    _told: int
    _log: list[tuple[int, Tensor, Tensor, Tensor]] | None

    def __init__(self, max_sample_count: int = 1) -> None:
        if not isinstance(max_sample_count, int) or isinstance(max_sample_count, bool) or max_sample_count < 1:
            expected, found = "an integer >= 1", repr(max_sample_count)
            raise ValueError(message("ConsumingSampler", "max_sample_count", expected=expected, found=found))
        self._limit = max_sample_count
        self._allocate(0)

    @property
    def available(self) -> int:
        """Rows that can be drawn, of those that the buffer told of."""
        return self._count

    @property
    def max_sample_count(self) -> int:
        """How often a row is drawn."""
        return self._limit

    def can_sample(self, storage: Storage, batch_size: int) -> bool:
        """Whether `batch_size` rows can be drawn."""
        self._take_in(storage)
        return self._count >= batch_size

    def sample(
        self, storage: Storage, batch_size: int, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """See `Sampler.sample`.

        Raises:
            ValueError: fewer rows are left than asked for.
        """
        if not self.can_sample(storage, batch_size):
            problem = f"a batch of {batch_size} rows was asked for"
            expected = f"at most the {self._count} rows that are not consumed"
            fix = "Store more first, or ask can_sample(storage, batch_size)"
            raise ValueError(message("ConsumingSampler", problem, expected=expected, fix=fix))
        places = _distinct_places(self._count, batch_size, generator)
        rows = self._rows[places]
        drawn = self._drawn[rows] + 1
        self._drawn[rows] = drawn
        consumed = places[drawn >= self._limit]
        moved = torch.cat([consumed, torch.arange(self._count - len(consumed), self._count)])
        if self._log is not None:
            self._log.append((self._count, rows, moved, self._rows[moved]))
        self._drop(consumed)
        return rows.to(storage.device), {}

    def left(self, storage: Storage) -> int:
        """See `Sampler.left`."""
        self._take_in(storage)
        return self._count

    def used_up(self, storage: Storage) -> Tensor:
        """See `Sampler.used_up`."""
        self._take_in(storage)
        return self._rows[self._count : self._told]

    def mark(self) -> int:
        """How many draws there were since rows were written; from now on they can be taken back."""
        if self._log is None:
            self._log = []
        return len(self._log)

    def rewind(self, mark: int) -> None:
        """See `Sampler.rewind`."""
        log = self._log or []
        while len(log) > mark:
            self._count, rows, places, were_there = log.pop()
            self._drawn[rows] -= 1
            self._rows[places] = were_there
            self._place[were_there] = places

    def next_batch_size(self, storage: Storage, batch_size: int) -> int:
        """See `Sampler.next_batch_size`."""
        self._take_in(storage)
        return min(batch_size, self._count)

    def _take_in(self, storage: Storage) -> None:
        """Have tables for the rows stored, and know those that were there before anything was written."""
        length = len(storage)
        if length > len(self._drawn):
            more = max(64, min(storage.max_size, 2 * length) - len(self._drawn))
            self._rows = torch.cat([self._rows, torch.empty(more, dtype=torch.int64)])
            self._place = torch.cat([self._place, torch.empty(more, dtype=torch.int64)])
            self._drawn = torch.cat([self._drawn, torch.zeros(more, dtype=torch.int64)])
        if length > self._told:
            new = torch.arange(self._told, length)
            self._rows[self._told : length] = new
            self._place[self._told : length] = new
            self._told = length
            self._enter(new)

    def _allocate(self, size: int) -> None:
        """Tables for `size` rows, of which none can be drawn."""
        self._rows = torch.empty(size, dtype=torch.int64)
        self._place = torch.empty(size, dtype=torch.int64)
        self._drawn = torch.zeros(size, dtype=torch.int64)
        self._count = self._told = 0
        self._log = None

    def _enter(self, rows: Tensor) -> None:
        """Rows can be drawn, from now on as often as new ones."""
        self._log = None
        self._drawn[rows] = 0
        new = rows[self._place[rows] >= self._count]
        start, stop = self._count, self._count + len(new)
        if stop == start:
            return
        places = self._place[new]
        is_taken = torch.zeros(stop - start, dtype=torch.bool)
        is_taken[places[places < stop] - start] = True
        others, holes = self._rows[start:stop][~is_taken], places[places >= stop]
        self._put(holes, others)
        self._put(torch.arange(start, stop), new)
        self._count = stop

    def _drop(self, places: Tensor) -> None:
        """The rows at some places are consumed: they change places with the last of those that can be drawn."""
        start, stop = self._count - len(places), self._count
        gone = self._rows[places]
        is_gone = torch.zeros(stop - start, dtype=torch.bool)
        is_gone[places[places >= start] - start] = True
        others, holes = self._rows[start:stop][~is_gone], places[places < start]
        self._put(holes, others)
        self._put(torch.arange(start, stop), gone)
        self._count = start

    def _put(self, places: Tensor, rows: Tensor) -> None:
        self._rows[places] = rows
        self._place[rows] = places

    def restart(self) -> None:
        """What is consumed stays so."""

    def clear(self) -> None:
        """Forget all rows."""
        self._allocate(0)

    def extend(self, storage: Storage, index: Tensor) -> None:
        """The rows can be drawn."""
        self._take_in(storage)
        self._enter(index.cpu())

    def add(self, storage: Storage, index: int) -> None:
        """The row can be drawn."""
        self.extend(storage, torch.tensor([index]))

    def overwrite(self, storage: Storage, where: Where) -> None:
        """How often rows were drawn stays as it is."""

    def settings(self) -> dict[str, Any]:
        """`max_sample_count`."""
        return {"max_sample_count": self._limit}

    def state_dict(self) -> dict[str, Any]:
        """All rows, those that can be drawn first, how many these are, and how often each row was drawn."""
        return {
            "rows": self._rows[: self._told].clone(),
            "available": self._count,
            "drawn": self._drawn[: self._told].clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Sampler.load_state_dict`."""
        rows, drawn = state["rows"], state["drawn"]
        self._allocate(len(rows))
        self._count, self._told = state["available"], len(rows)
        self._put(torch.arange(len(rows)), rows)
        self._drawn[:] = drawn

    def __repr__(self) -> str:
        return f"ConsumingSampler(max_sample_count={self._limit})"


def _distinct_places(count: int, size: int, generator: torch.Generator | None) -> Tensor:
    """`size` different integers below `count`, int64 `[size]`, each subset and order equally likely."""
    device = None if generator is None else generator.device
    if 4 * size > count:
        return torch.randperm(count, generator=generator, device=device)[:size].cpu()
    drawn = torch.empty(0, dtype=torch.int64)
    while len(drawn) < size:
        more = torch.randint(0, count, (size - len(drawn),), generator=generator, device=device).cpu()
        drawn = _first_of_each(torch.cat([drawn, more]))
    return drawn


def _first_of_each(numbers: Tensor) -> Tensor:
    """`numbers`, in their order, without those that were there before."""
    ordered, order = numbers.sort(stable=True)
    is_new = torch.ones(len(numbers), dtype=torch.bool)
    is_new[order[1:]] = ordered[1:] != ordered[:-1]
    return numbers[is_new]
