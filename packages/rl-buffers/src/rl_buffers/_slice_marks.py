"""What a batch of slices says of their ends."""

from typing import Any, final

import torch
from torch import Tensor

from rl_buffers._boundaries import Boundaries
from rl_buffers._storage import Storage
from rl_specs import MissingKeyError, NestedKey, canonical_key


@final
class SliceMarks:
    """Flags the last step of each slice as truncated, and as done.

    Args:
        truncated_key: where the flag goes; `"done"` beside it is flagged too. None for no flags.
        boundaries: where trajectories end: the flag that says so is false on all steps of a slice but the last.
    """

    def __init__(self, truncated_key: NestedKey | None, boundaries: Boundaries) -> None:
        self._truncated_key = None if truncated_key is None else canonical_key(truncated_key)
        self._boundaries = boundaries
        self._shapes: dict[NestedKey, torch.Size | None] = {}

    def forget(self) -> None:
        """The rows may have other entries from now on."""
        self._shapes = {}

    def info(self, storage: Storage, rows: Tensor, is_last: Tensor) -> dict[Any, Tensor]:
        """Flags of a batch.

        Args:
            storage: where the rows are.
            rows: int64 `[n]`, rows of the batch.
            is_last: bool `[n]`, whether a row is the last of its slice.
        Returns:
            bool `[n, *F]` by key: true where `is_last` is, and where the row is flagged itself. `F` is the shape of
            the stored flag, or `[1]`.
        """
        if self._truncated_key is None:
            return {}
        done_key: NestedKey = "done"
        if isinstance(self._truncated_key, tuple):
            done_key = (*self._truncated_key[:-1], "done")
        if not self._shapes:
            self._shapes = {key: _row_shape(storage, key) for key in (self._truncated_key, done_key)}
        out: dict[Any, Tensor] = {}
        for key, shape in self._shapes.items():
            flag = is_last.view(-1, *[1] * len(shape)) if shape is not None else is_last.unsqueeze(1)
            if shape is None:
                out[key] = flag.clone()
            elif self._boundaries.end_key == done_key:
                out[key] = flag.expand(-1, *shape).clone(memory_format=torch.contiguous_format)
            else:
                out[key] = storage.read_entry(key, rows).bool() | flag
        return out


def _row_shape(storage: Storage, key: NestedKey) -> torch.Size | None:
    """Shape of an entry in one row; None where there is no such entry."""
    try:
        return storage.read_entry(key, slice(0, 1)).shape[1:]
    except MissingKeyError:
        return None
