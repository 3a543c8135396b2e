"""Keeps the rows that rank highest."""

import heapq
import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, final, get_args

import torch
from torch import Tensor

from rl_buffers._storage import Block, Storage, Where
from rl_buffers._writer import Writer, write_whole
from rl_specs import NestedKey, SpecError, key_str, message, near_matches

Reduction: TypeAlias = Literal["max", "min", "mean", "median", "sum"]
_REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "max": lambda rank: rank.amax(1),
    "min": lambda rank: rank.amin(1),
    "mean": lambda rank: rank.double().mean(1),
    "median": lambda rank: rank.median(1).values,
    "sum": lambda rank: rank.sum(1, dtype=torch.float64 if rank.is_floating_point() else None),
}


@final
class TensorDictMaxValueWriter(Writer):
    """Keeps the `max_size` rows that rank highest; others are not stored.

    Of rows of equal rank those that came first are kept. Rows that replace others take their places, so the numbers of
    rows say nothing about their order. Rows that nobody needs any more rank below all others.

    Args:
        rank_key: the entry to rank by.
        reduction: how an entry of several numbers becomes one.
    """

    def __init__(self, rank_key: NestedKey = ("next", "reward"), reduction: Reduction = "sum") -> None:
        if reduction not in _REDUCTIONS:
            near = near_matches(str(reduction), _REDUCTIONS)
            problem = f"no reduction {reduction!r}.{near}"
            raise ValueError(message("TensorDictMaxValueWriter", problem, expected=f"one of {get_args(Reduction)}"))
        self._rank_key = rank_key
        self._reduction = reduction
        self._heap: list[tuple[float, int, int]] = []  # rank, minus the time of arrival, row; the first leaves first
        self._arrived = 0
        self._is_whole = True
        self._free: Tensor | None = None

    def attach(self, storage: Storage) -> None:
        """Rank the rows that are there, as if they had arrived in the order of their numbers."""
        ranks = self._reduced(storage.read_entry(self._rank_key, slice(0, len(storage)))) if len(storage) else []
        self._heap = [(rank, -number, number) for number, rank in enumerate(ranks)]
        heapq.heapify(self._heap)
        self._arrived = len(ranks)
        self._is_whole = True

    def offer(self, rows: Tensor) -> None:
        """See `Writer.offer`."""
        self._free = rows

    def prepare(self, storage: Storage, data: Any, *, is_row: bool, where: Where | None = None) -> Any:
        """`data`: nothing is added."""
        return data

    def extend(self, storage: Storage, block: Block) -> Tensor:
        """See `Writer.extend`; the numbers of the rows kept, each where it would be had rows been added one by one.

        Raises:
            SpecError: a rank is not a number; nothing is written.
        """
        if block.count == 0:
            return torch.empty(0, dtype=torch.int64)
        self._mend(storage)
        ranks = self._reduced(storage.block_entry(self._rank_key, block))
        self._take_offer()
        self._is_whole = False
        places = self._fill(ranks[: storage.max_size - len(self._heap)])
        self._compete(ranks, len(places), places)
        self._arrived += block.count
        kept = sorted((number, place) for place, number in places.items())
        index = torch.tensor([place for _, place in kept], dtype=torch.int64)
        self._write(storage, block, [number for number, _ in kept], index)
        self._is_whole = True
        return index

    def add(self, storage: Storage, block: Block) -> int | None:
        """See `Writer.add`; None for a row that does not rank among those kept. See `extend`."""
        self._mend(storage)
        rank = self._reduced(storage.block_entry(self._rank_key, block))[0]
        self._take_offer()
        heap = self._heap
        is_full = len(heap) == storage.max_size
        arrived = self._arrived
        self._arrived += 1
        if is_full and rank <= heap[0][0]:
            return None
        place = heap[0][2] if is_full else len(heap)
        self._is_whole = False
        write_whole(storage, place, block)
        if is_full:
            heapq.heapreplace(heap, (rank, -arrived, place))
        else:
            heapq.heappush(heap, (rank, -arrived, place))
        self._is_whole = True
        return place

    def _take_offer(self) -> None:
        """Rank rows that nobody needs any more below all others."""
        free, self._free = self._free, None
        if free is not None and len(free):
            gone = set(free.tolist())
            self._heap = [(-math.inf if place in gone else rank, when, place) for rank, when, place in self._heap]
            heapq.heapify(self._heap)

    def _fill(self, ranks: list[float]) -> dict[int, int]:
        """Give the first rows of a batch the places that are free; which row of the batch each place got."""
        first = len(self._heap)
        self._heap += [(rank, -self._arrived - number, first + number) for number, rank in enumerate(ranks)]
        if ranks:
            heapq.heapify(self._heap)
        return {first + number: number for number in range(len(ranks))}

    def _compete(self, ranks: list[float], start: int, places: dict[int, int]) -> None:
        """Give the rows of a batch from `start` on the places of those that rank lower."""
        heap, arrived = self._heap, self._arrived
        lowest = heap[0][0]
        for number in range(start, len(ranks)):
            if ranks[number] > lowest:
                place = heap[0][2]
                heapq.heapreplace(heap, (ranks[number], -arrived - number, place))
                places[place] = number
                lowest = heap[0][0]

    def _mend(self, storage: Storage) -> None:
        """Rank anew after a write that was interrupted."""
        if not self._is_whole:
            self.attach(storage)

    def _write(self, storage: Storage, block: Block, numbers: list[int], index: Tensor) -> None:
        """Write some rows of a block, by runs of neighbours."""
        start = 0
        for stop in range(1, len(numbers) + 1):
            if stop == len(numbers) or numbers[stop] != numbers[stop - 1] + 1:
                write_whole(storage, index[start:stop], block, slice(numbers[start], numbers[stop - 1] + 1))
                start = stop

    def _reduced(self, entry: Tensor) -> list[float]:
        """One number for each row of `[n, *row_shape]`; exact integers stay so."""
        if entry.dtype is torch.bool:
            entry = entry.long()
        rank = entry.detach().reshape(len(entry), -1)
        rank = rank[:, 0] if rank.shape[1] == 1 else _REDUCTIONS[self._reduction](rank)
        if rank.is_floating_point() and bool(rank.isnan().any()):
            rows = rank.isnan().nonzero().flatten().tolist()
            raise SpecError(
                message(
                    "TensorDictMaxValueWriter",
                    f"the rank {key_str(self._rank_key)} of row {rows[0]} of the data is not a number",
                    fix="Nothing was written. Remove such rows, or replace the values with torch.nan_to_num",
                )
            )
        ranks: list[float] = rank.tolist()
        return ranks

    def overwrite(self, storage: Storage, where: Where, block: Block) -> None:
        """Rank the rows anew; each keeps its time of arrival. See `extend` for what is refused."""
        self._mend(storage)
        ranks = self._reduced(storage.block_entry(self._rank_key, block))
        if isinstance(where, int):
            places = [where]
        else:
            places = list(range(where.start, where.stop)) if isinstance(where, slice) else where.tolist()
        new = dict(zip(places, ranks, strict=True))
        self._heap = [(new.get(place, rank), arrived, place) for rank, arrived, place in self._heap]
        heapq.heapify(self._heap)

    def order(self, storage: Storage) -> Tensor:
        """See `Writer.order`."""
        return torch.tensor([place for _, _, place in sorted(self._heap, key=lambda item: -item[1])], dtype=torch.int64)

    def clear(self) -> None:
        """Forget all ranks."""
        self._heap = []
        self._arrived = 0
        self._is_whole = True

    def settings(self) -> dict[str, Any]:
        """The entry that ranks, and its reduction."""
        return {"rank_key": key_str(self._rank_key), "reduction": self._reduction}

    def state_dict(self) -> dict[str, Any]:
        """Rank and time of arrival of every row, in the order of their numbers."""
        rows = sorted(self._heap, key=lambda item: item[2])
        ranks = [rank for rank, _, _ in rows]
        if all(type(rank) is int or rank == -math.inf for rank in ranks):
            ranks = [-(2**63) if rank == -math.inf else rank for rank in ranks]
            dtype = torch.int64
        else:
            dtype = torch.float64
        return {
            "ranks": torch.tensor(ranks, dtype=dtype),
            "arrivals": torch.tensor([-arrived for _, arrived, _ in rows], dtype=torch.int64),
            "arrived": self._arrived,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Writer.load_state_dict`."""
        rows = zip(state["ranks"].tolist(), state["arrivals"].tolist(), strict=True)
        self._heap = [(rank, -arrived, place) for place, (rank, arrived) in enumerate(rows)]
        heapq.heapify(self._heap)
        self._arrived = state["arrived"]
        self._is_whole = True

    def __repr__(self) -> str:
        return f"TensorDictMaxValueWriter(rank_key={self._rank_key!r}, reduction={self._reduction!r})"
