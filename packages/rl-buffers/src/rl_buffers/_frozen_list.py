"""The rows of one moment of a list, whose rows are never changed where they are."""

from typing import Any, final

from rl_buffers._rows import FrozenRows, Rows


@final
class FrozenList(FrozenRows):
    """Rows of a list: the list is another one, and the rows in it are the same.

    Args:
        rows: that other list.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows)

    @property
    def copied(self) -> int:
        """None: the rows are those of the storage."""
        return 0

    def head(self) -> dict[str, Any]:
        """See `Rows.head`."""
        return self._rows.head()

    def state_dict(self) -> dict[str, Any]:
        """See `Rows.state_dict`."""
        return self._rows.state_dict()

    def values(self) -> Any:
        """See `Rows.values`."""
        return self._rows.values()

    def release(self) -> None:
        """Nothing to free."""
