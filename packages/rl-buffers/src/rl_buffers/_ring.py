"""What was written where: the steps of a ring in the order of time."""

from typing import Any, final

import torch
from torch import Tensor

from rl_buffers._storage import Storage, Where
from rl_specs import message


@final
class Ring:
    """Numbers the steps that were written: step `g` is in row `(g + base) % size`, and `g + lanes` follows it in time.

    The steps `start` to `stop - 1` are stored. Writers that go round the storage continue the numbers. After any other
    write the rows are numbered afresh, from 0 in the order of rows, with `cuts` where a row is not followed by the one
    that was written after it; `generation` then changes, as it does whenever earlier numbers have lost their meaning.
    """

    def __init__(self) -> None:
        self.size = 0
        self.lanes = 1
        self.base = 0
        self.stop = 0
        self.generation = 0
        self._is_told = False
        self._seams: list[int] = []
        self._order: Tensor | None = None
        self._clock = 0
        self._replaced: list[Tensor] = []

    @property
    def start(self) -> int:
        """The oldest step stored."""
        return max(0, self.stop - self.size)

    def clear(self) -> None:
        """The storage was emptied."""
        self._restart(0, 0)

    def add(self, storage: Storage, index: int) -> None:
        """Row `index` was written."""
        if self._order is None and self._is_told and index == (self.stop + self.base) % self.size:
            self.stop += 1
            return
        self.extend(storage, torch.tensor([index]))

    def extend(self, storage: Storage, index: Tensor) -> None:
        """Rows `index` were written one after another."""
        count, length = index.numel(), len(storage)
        if not count:
            return
        first = int(index[0])
        is_run = self._is_run(index, storage.max_size)
        if not self._is_told:
            self._measure(storage)
            unseen = first if is_run and first + count == length else (length if length > count else 0)
            self._restart(0, unseen, is_over=True)
            self._is_told = True
        if is_run and count == self.size:
            self._restart(first, count)
        elif is_run and self._order is None and first == (self.stop + self.base) % self.size:
            self.stop += count
        else:
            self._scatter(index, length)

    def replace(self, where: Where) -> None:
        """Rows `where` were written again, in place."""
        if not self._is_told or self._order is not None:
            self.generation += 1
            return
        rows = torch.tensor([where]) if isinstance(where, int) else where
        if isinstance(rows, slice):
            rows = torch.arange(rows.start, rows.stop)
        self._replaced.append(self.start + (rows.cpu() - self.base - self.start) % self.size)
        if len(self._replaced) > 64:
            self._replaced = [distinct(torch.cat(self._replaced))]

    def part(self, rows: Tensor) -> None:
        """Rows `rows`, `[n]`, each the last one of all lanes, are not followed by what was written after them."""
        gap = 2 * self.lanes
        if self._order is None:
            last = self.start + (rows - self.base - self.start) % self.size
            ends = (last.unsqueeze(1) - torch.arange(self.lanes)).flatten().tolist()
            self._seams = sorted({*self._seams, *ends})
        else:
            for row in rows.tolist():
                self._order[self._order > self._order[row]] += gap
                self._clock += gap
        self.generation += 1

    @property
    def is_replaced(self) -> bool:
        """Whether steps were replaced since the last call of `take_replaced`."""
        return bool(self._replaced)

    def take_replaced(self) -> Tensor:
        """Steps replaced since the last call, int64 `[n]`, each once."""
        replaced, self._replaced = self._replaced, []
        return distinct(torch.cat(replaced)) if replaced else torch.empty(0, dtype=torch.int64)

    def follow(self, storage: Storage) -> None:
        """Take in rows that nobody told of, such as those that a storage was made with: in the order of their rows."""
        length = len(storage)
        if not self._is_told:
            self._measure(storage)
            self._is_told = True
            self._restart(0, length, is_over=True)
        elif self._order is not None:
            self.stop = length
        elif length != self.stop - self.start:
            self._restart(0, length, is_over=True)

    def rows(self, low: int, high: int) -> Tensor | slice:
        """Rows of the steps `low` to `high - 1`: a range where they lie side by side."""
        count, first = high - low, (low + self.base) % max(self.size, 1)
        if first + count <= self.size:
            return slice(first, first + count)
        return (torch.arange(first, first + count)) % self.size

    def rows_of(self, steps: Tensor) -> Tensor:
        """Rows of some steps."""
        return (steps + self.base) % self.size

    def cuts(self) -> Tensor:
        """Steps after which time does not go on in the next row, whatever is stored, int64 `[n]`, sorted."""
        if self._order is not None:
            following = self._order[self.lanes : self.stop] - self._order[: max(self.stop - self.lanes, 0)]
            return (following != self.lanes).nonzero().squeeze(1)
        self._seams = [step for step in self._seams if step >= self.start]
        return torch.tensor(self._seams, dtype=torch.int64)

    def state_dict(self) -> dict[str, Any]:
        """Which step is where."""
        return {
            "size": self.size,
            "lanes": self.lanes,
            "base": self.base,
            "stop": self.stop,
            "clock": self._clock,
            "is_is_told": self._is_told,
            "seams": list(self._seams),
            "order": None if self._order is None else self._order.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.size, self.lanes, self.base, self.stop = (state[name] for name in ("size", "lanes", "base", "stop"))
        self._clock, self._is_told, self._seams = state["clock"], state["is_is_told"], list(state["seams"])
        self._order = None if state["order"] is None else state["order"].clone()
        self._replaced = []
        self.generation += 1

    def _measure(self, storage: Storage) -> None:
        self.size, self.lanes = storage.max_size, storage.lanes
        if self.size % self.lanes:
            expected = f"a multiple of its {self.lanes} lanes"
            raise ValueError(message("SliceSampler", "capacity of the storage", expected=expected, found=self.size))

    def _restart(self, base: int, count: int, *, is_over: bool = False) -> None:
        """Number afresh: `count` rows from row `base` on. With `is_over` what is written next does not follow them."""
        self.base, self.stop, self._order, self._replaced = base, count, None, []
        self._seams = list(range(max(0, count - self.lanes), count)) if is_over else []
        self.generation += 1

    def _scatter(self, index: Tensor, length: int) -> None:
        """Rows were written elsewhere than where the last write stopped: from now on remember when each was written."""
        if self._order is None:
            self._order = torch.full((length,), -(2**62), dtype=torch.int64)
            steps = torch.arange(self.start, self.stop)
            gap = 2 * self.lanes
            seams = self._seams[:: -self.lanes][::-1]  # the last step of each
            self._order[self.rows_of(steps)] = steps + gap * torch.bucketize(
                steps, torch.tensor(seams, dtype=steps.dtype)
            )
            self._clock = self.stop + (1 + len(seams)) * gap
        if len(self._order) < length:
            more = min(self.size, 2 * length) - len(self._order)
            self._order = torch.cat([self._order, torch.full((more,), -(2**62), dtype=torch.int64)])
        count = index.numel()
        self._order[index] = torch.arange(self._clock, self._clock + count)
        self._clock += count
        self.base, self.stop = 0, length
        self._replaced = []
        self.generation += 1

    @staticmethod
    def _is_run(index: Tensor, size: int) -> bool:
        if index.numel() == 1:
            return True
        step = index[1:] - index[:-1]
        return bool(((step == 1) | (step == 1 - size)).all())


def distinct(numbers: Tensor) -> Tensor:
    """int64 `[n]`, sorted, each once."""
    ordered = numbers.sort().values
    is_new = torch.ones(len(ordered), dtype=torch.bool)
    is_new[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_new]
