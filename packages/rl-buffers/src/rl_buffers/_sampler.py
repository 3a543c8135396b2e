"""What a sampler is: the choice of the rows of the next batch."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from rl_buffers._storage import Storage, Where


class Sampler(ABC):
    """Chooses rows. The buffer tells it of every write, so that it can keep what it knows of the rows in step.

    A sampler that works in passes over the stored rows (an epoch) ends one by returning 0 from `next_batch_size`.
    """

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
