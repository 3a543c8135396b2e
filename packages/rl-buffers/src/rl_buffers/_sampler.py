"""What a sampler is: the choice of the rows of the next batch."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from rl_buffers._priority_values import Numbers
from rl_buffers._storage import Storage, Where
from rl_specs import message


class Sampler(ABC):
    """Chooses rows. The buffer tells it of every write, so that it can keep what it knows of the rows in step.

    A sampler that works in passes over the stored rows (an epoch) ends one by returning 0 from `next_batch_size`. One
    that draws by priority says so by `keeps_priorities` and defines `update_priority` and `check_priority`.
    """

    keeps_priorities: bool = False
    """Whether rows have priorities that decide how often they are drawn."""

    consumes_rows: bool = False
    """Whether rows are used up: then `left` and `used_up` say which are, and writers are offered their places."""

    @abstractmethod
    def sample(
        self, storage: Storage, batch_size: int, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Row numbers of the next batch.

        Args:
            storage: where the rows are; it holds at least one.
            batch_size: how many rows are wanted.
            generator: source of randomness; None for torch's global one.
        Returns:
            int64 `[n]`, and further entries about the batch (weights, masks), each with `n` first.
        """

    def next_batch_size(self, storage: Storage, batch_size: int) -> int:
        """Rows in the next batch of an iteration that wants `batch_size`: 0 at the end of a pass."""
        return batch_size

    def left(self, storage: Storage) -> int:
        """How many rows can be drawn."""
        return len(storage)

    def used_up(self, storage: Storage) -> Tensor:
        """int64 `[n]`: the rows that cannot be drawn any more, in the order in which they are best overwritten."""
        return torch.empty(0, dtype=torch.int64)

    def mark(self) -> Any:
        """Where the sampler is, for `rewind`; None where a draw leaves no trace in it."""
        return None

    def rewind(self, mark: Any) -> None:
        """Take back the draws made since `mark`; nothing else happened in between."""
        assert mark is None

    @abstractmethod
    def restart(self) -> None:
        """Begin a new pass; what is known of the rows stays."""

    @abstractmethod
    def clear(self) -> None:
        """The buffer was emptied: forget what is known of its rows."""

    @abstractmethod
    def extend(self, storage: Storage, index: Tensor) -> None:
        """Rows `index` (int64 `[n]`, in the order of the data, which is that of time) were written by `extend`."""

    @abstractmethod
    def add(self, storage: Storage, index: int) -> None:
        """Row `index` was written by `add`."""

    @abstractmethod
    def overwrite(self, storage: Storage, where: Where) -> None:
        """Rows were replaced where they are, by `buffer[...] = rows`."""

    def part(self, storage: Storage, rows: Tensor) -> None:  # noqa: B027  # nothing to do where time does not matter
        """Rows `rows` (int64 `[n]`) are the last ones of runs of a program: what was written next does not follow."""

    def take_in(self, storage: Storage) -> None:  # noqa: B027  # nothing to do without priorities
        """Priorities are about to be updated: learn of rows that nobody told of, which the storage was made with."""

    def update_priority(self, index: Numbers, priority: Numbers, stamp: Tensor | None = None) -> None:
        """Give rows other priorities.

        Args:
            index: row numbers: an integer, `[n]`, or `[n, ...]` with each repeated along further dimensions. Of a row
                that is there twice the last priority holds; rows that are not stored (any more) are left out.
            priority: a number for all of them, or `[n, ...]`, of which those of one row are reduced to one.
            stamp: the entry `"_stamp"` of the batch that the rows were drawn in: rows written since then keep the
                priorities that they have. None to change all of them.
        Raises:
            IndexError: rows that the storage has no room for.
            ShapeError: another number of priorities than of rows.
            TypeError: this sampler keeps no priorities.
            ValueError: negative, infinite or not a number; places and values are listed and nothing was changed.
        """
        raise TypeError(
            message(type(self).__name__, "the sampler keeps no priorities", fix="Give the buffer a PrioritizedSampler")
        )

    def check_priority(self, priority: Tensor, count: int) -> None:
        """Raise what `update_priority` would for these priorities of `count` rows, which are about to be written."""
        raise TypeError(message(type(self).__name__, "the sampler keeps no priorities"))

    @property
    def kind(self) -> str:
        """Name of the form of its states: samplers of one kind load each other's."""
        return type(self).__name__

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the next batches, besides the generator."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same class of sampler."""

    def settings(self) -> dict[str, Any]:
        """Settings under which a state means the same; a state saved under others is refused."""
        return {}


def draw(low: int, high: int, count: int, storage: Storage, generator: torch.Generator | None) -> Tensor:
    """`count` integers, uniform in `[low, high)`: drawn where the generator is, moved to where the storage is."""
    if generator is None:
        return torch.randint(low, high, (count,), device=storage.device)
    return torch.randint(low, high, (count,), generator=generator, device=generator.device).to(storage.device)
