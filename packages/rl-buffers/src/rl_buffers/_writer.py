"""What a writer is: the choice of the rows that new ones overwrite."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from rl_buffers._storage import Block, Storage, Where


class Writer(ABC):
    """Decides which rows of a storage new ones overwrite, and writes them there."""

    @abstractmethod
    def attach(self, storage: Storage) -> None:
        """A buffer was built around a storage, which may hold rows already; the next rows go after these."""

    def offer(self, rows: Tensor) -> None:  # noqa: B027  # a writer may leave them where they are
        """Rows that nobody will read any more, int64 `[n]`: the next write may put new ones in their places first."""

    @abstractmethod
    def prepare(self, storage: Storage, data: Any, *, is_row: bool, where: Where | None = None) -> Any:
        """`data` with what the writer adds to them; called before they are checked.

        Args:
            storage: where they will be written.
            data: a batch, or a row without the dimension that counts rows.
            is_row: which of the two.
            where: the rows that they replace in place, int64 `[*B, T]` for such data; None where the writer chooses.
        Returns:
            `data` itself where nothing is added; `data` are not changed.
        """

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
    def add(self, storage: Storage, block: Block) -> int | None:
        """Write one row that `storage.check_row` accepted; returns its number, None where it was not kept."""

    @abstractmethod
    def overwrite(self, storage: Storage, where: Where, block: Block) -> None:
        """Rows `where` are about to be replaced by those of `block`, in place; raises where that is refused."""

    @abstractmethod
    def order(self, storage: Storage) -> Tensor:
        """int64 `[len(storage)]`: the numbers of all rows stored, oldest first."""

    @abstractmethod
    def clear(self) -> None:
        """The storage is about to be emptied; raises where that is refused."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that decides where the next rows go."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same class of writer."""

    def settings(self) -> dict[str, Any]:
        """Settings under which a state means the same; a state saved under others is refused."""
        return {}


def write_whole(storage: Storage, where: Where, block: Block, source: slice | None = None) -> None:
    """`storage.write`, done again when it is interrupted: what interrupts it leaves no row half written."""
    try:
        storage.write(where, block, source)
    except BaseException:
        storage.write(where, block, source)
        raise
