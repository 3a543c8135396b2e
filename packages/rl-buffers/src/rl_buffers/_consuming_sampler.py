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
    a smaller batch when fewer are left than asked for. The buffer keeps consumed rows until they are overwritten, so
    its length does not change; `available` is the number of rows that can be drawn.

    Args:
        max_sample_count: how often a row is drawn, at least 1.
    Raises:
        ValueError: `max_sample_count` is out of range.
    """

    _rows: Tensor
    _place: Tensor
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
            self._place = torch.cat([self._place, torch.full((more,), -1, dtype=torch.int64)])
            self._drawn = torch.cat([self._drawn, torch.zeros(more, dtype=torch.int64)])
        if length > self._told:
            self._enter(torch.arange(self._told, length))
            self._told = length

    def _allocate(self, size: int) -> None:
        """Tables for `size` rows, of which none can be drawn."""
        self._rows = torch.empty(size, dtype=torch.int64)
        self._place = torch.full((size,), -1, dtype=torch.int64)
        self._drawn = torch.zeros(size, dtype=torch.int64)
        self._count = self._told = 0
        self._log = None

    def _enter(self, rows: Tensor) -> None:
        """Rows can be drawn, from now on as often as new ones."""
        self._log = None
        self._drawn[rows] = 0
        new = rows[self._place[rows] < 0]
        stop = self._count + len(new)
        self._rows[self._count : stop] = new
        self._place[new] = torch.arange(self._count, stop)
        self._count = stop

    def _drop(self, places: Tensor) -> None:
        """Take the rows at some places of the list out of it; those at its end move to where they were."""
        self._place[self._rows[places]] = -1
        stop = self._count - len(places)
        holes = places[places < stop]
        tail = self._rows[stop : self._count]
        moved = tail[self._place[tail] >= 0]
        self._rows[holes] = moved
        self._place[moved] = holes
        self._count = stop

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
        """The rows that can be drawn, in their order, and how often each row was."""
        return {
            "told": self._told,
            "rows": self._rows[: self._count].clone(),
            "drawn": self._drawn[: self._told].clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Sampler.load_state_dict`."""
        rows, drawn = state["rows"], state["drawn"]
        self._allocate(len(drawn))
        self._count, self._told = len(rows), state["told"]
        self._rows[: self._count], self._drawn[: self._told] = rows, drawn
        self._place[rows] = torch.arange(self._count)

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
