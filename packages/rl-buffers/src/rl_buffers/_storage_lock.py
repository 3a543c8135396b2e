"""The lock that belongs to a storage."""

import threading
from typing import Any, final


@final
class StorageLock:
    """Holds a lock for whoever uses the rows of a storage; a copy of the storage, pickled or not, has another one."""

    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Another one, whose lock nobody holds."""
        return StorageLock, ()
