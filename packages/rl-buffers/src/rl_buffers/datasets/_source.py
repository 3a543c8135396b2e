"""What a data set on disk is to a buffer: blocks of rows, one after the other."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from tensordict import TensorDict


class RowSource(ABC):
    """Rows of a data set in the format in which it is published, read piece by piece."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The data set, also the folder of its converted form below the root."""

    @abstractmethod
    def most_rows(self) -> int:
        """How many rows there are at most."""

    @abstractmethod
    def blocks(self) -> Iterator[TensorDict]:
        """Steps `[n]` in the order of time, trajectory after trajectory, all blocks with the same entries.

        Raises:
            FileNotFoundError, SpecError: files are missing, or not in the format.
        """

    @abstractmethod
    def metadata(self) -> dict[str, Any]:
        """What else is known of the data set, in the types of JSON."""
