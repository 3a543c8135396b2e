"""What a storage asks of the files behind its tables."""

from abc import ABC, abstractmethod


class Pager(ABC):
    """Room on disk before rows are written, and memory given back after rows were touched."""

    @abstractmethod
    def before_write(self, start: int, stop: int) -> None:
        """Rows from `start` to `stop`, or some between them, are about to be written.

        Raises:
            OSError: the disk has no room for them; nothing was written.
        """

    @abstractmethod
    def after_write(self, count: int) -> None:
        """They are written, at most `count`."""

    @abstractmethod
    def begin_load(self) -> None:
        """All rows are about to be replaced, entry by entry."""

    @abstractmethod
    def end_load(self) -> None:
        """They are replaced."""

    @abstractmethod
    def after_scan(self, size: int) -> None:
        """`size` bytes were read, rows one after another."""

    @abstractmethod
    def after_read(self, count: int) -> None:
        """`count` rows were read, wherever they are."""
