"""What a writer is: the choice of the rows that new ones overwrite."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from rl_buffers._storage import Block, Storage


class Writer(ABC):
    """Decides which rows of a storage new ones overwrite, and writes them there."""

    @abstractmethod
    def extend(self, storage: Storage, block: Block) -> Tensor:
        """Write a batch.

        Args:
            storage: where to write.
            block: rows that `storage.check` accepted.
        Returns:
            int64 `[n]`: the numbers of the rows written, in the order of the batch, each at most once.
        """

    @abstractmethod
    def add(self, storage: Storage, block: Block) -> int:
        """Write one row that `storage.check_row` accepted; returns its number."""

    @abstractmethod
    def clear(self) -> None:
        """The storage was emptied."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that decides where the next rows go."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same class of writer."""
