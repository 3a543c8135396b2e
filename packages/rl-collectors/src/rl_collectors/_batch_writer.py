"""One preallocated batch, written through a small staging block.

Stacking thousands of TensorDicts costs ten times what copying their tensors does, so a batch is allocated from the
layout of its first step and steps are copied into it. Writing into a time slice needs a view of that slice, and making
a view costs more than copying a small entry: small entries therefore go to a staging block `[K, *B, ...]` whose views
are made once and serve every batch, and each `K` steps the block moves to the batch in one copy per entry. Large
entries (frames) are copied to their place at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, cast

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from rl_envs import pack_flat
from rl_specs import FlatDict, NestedKey, join_key

_LARGE_BYTES = 16_384
"""Size of an entry of one step from which on it is not staged: there the copy costs more than the view."""

_STAGING_BYTES = 524_288
"""Size of the staging block, small enough to stay in a core's cache."""


_HUGE_BYTES = 4_194_304
"""Size of an entry of a batch from which on numpy allocates it, which asks the kernel for huge pages.

The first touch of fresh memory costs more than the copy into it, page by page: four times as much for frames.
"""


@dataclass(frozen=True)
class _Entry:
    """Name in the batch, and form `[*B, ...]` in one step."""

    name: NestedKey
    shape: torch.Size
    dtype: torch.dtype
    device: torch.device

    def allocate(self, dim: int, length: int, device: torch.device) -> Tensor:
        """Uninitialised `[..., length, ...]`, the new dimension at `dim`."""
        shape = (*self.shape[:dim], length, *self.shape[dim:])
        if device.type == "cpu" and self.size * length >= _HUGE_BYTES:
            return torch.from_numpy(np.empty(self.size * length, np.uint8)).view(self.dtype).view(shape)
        return torch.empty(shape, dtype=self.dtype, device=device)

    @property
    def size(self) -> int:
        """Bytes of one step."""
        return self.shape.numel() * self.dtype.itemsize


class BatchWriter:
    """Batches `[*B, T]` whose layout is that of the first step, one after the other.

    Args:
        root: entries before the step, each `[*B, ...]`.
        nxt: entries that the step returned, each `[*B, ...]`.
        batch_size: `B`.
        num_steps: `T`.
        device: where batches are stored; None keeps each entry on its own device.
    """

    def __init__(
        self, root: FlatDict, nxt: FlatDict, *, batch_size: torch.Size, num_steps: int, device: torch.device | None
    ) -> None:
        self._batch_size = torch.Size((*batch_size, num_steps))
        self._dim = len(batch_size)
        self._num_steps = num_steps
        self._device = device
        self._layout = _layout(root, nxt)
        entries = [_Entry(name, value.shape, value.dtype, value.device) for name, value in _named(root, nxt)]
        small = [position for position, entry in enumerate(entries) if entry.size <= _LARGE_BYTES]
        self._large = [position for position in range(len(entries)) if position not in set(small)]
        self._small = small
        self._entries = entries
        self._read_root, self._read_next = _reader(list(root)), _reader(list(nxt))
        total = sum(entries[position].size for position in small)
        self._length = max(1, min(num_steps, _STAGING_BYTES // max(1, total)))
        self._staging = [entries[p].allocate(0, self._length, entries[p].device) for p in small]
        self._slots = list(zip(*[stage.unbind(0) for stage in self._staging], strict=True))
        self._storages: list[Tensor] = []
        self._flushed = 0

    def fits(self, root: FlatDict, nxt: FlatDict, num_steps: int, device: torch.device | None) -> bool:
        """Whether steps like this one have the layout that the writer was made for."""
        return num_steps == self._num_steps and device == self._device and _layout(root, nxt) == self._layout

    def start(self) -> None:
        """Begin a batch; what was written since the last `finish` is dropped."""
        self._storages = [
            entry.allocate(self._dim, self._num_steps, self._device or entry.device) for entry in self._entries
        ]
        self._flushed = 0

    def write(self, step: int, root: FlatDict, nxt: FlatDict) -> None:
        """Copy the entries of one step into time slice `step`, the one after that of the last call."""
        values = self._read_root(root) + self._read_next(nxt)
        slot = step - self._flushed
        if self._large:
            for position in self._large:
                self._storages[position].select(self._dim, step).copy_(values[position])
            values = tuple(values[position] for position in self._small)
        if values:
            torch._foreach_copy_(self._slots[slot], values)
        if slot + 1 == self._length:
            self._flush(step + 1)

    def finish(self, extra: FlatDict) -> TensorDict:
        """The batch as a TensorDict, its last dimension named `"time"`; the caller's own.

        Args:
            extra: further entries, each `[*B, T, ...]`.
        """
        self._flush(self._num_steps)
        found = {entry.name: storage for entry, storage in zip(self._entries, self._storages, strict=True)}
        self._storages = []
        for key, value in extra.items():
            found[key] = value if self._device is None else value.to(self._device)
        batch = pack_flat(found, self._batch_size, self._device)
        batch.names = [*[None] * self._dim, "time"]
        return batch

    def _flush(self, end: int) -> None:
        """Move the staged steps, which end before `end`, to the batch."""
        count = end - self._flushed
        if count:
            for position, stage in zip(self._small, self._staging, strict=True):
                target = self._storages[position].narrow(self._dim, self._flushed, count)
                target.copy_(stage[:count].movedim(0, self._dim))
        self._flushed = end


def _named(root: FlatDict, nxt: FlatDict) -> list[tuple[NestedKey, Tensor]]:
    return [*root.items(), *((join_key("next", key), value) for key, value in nxt.items())]


def _layout(root: FlatDict, nxt: FlatDict) -> list[tuple[NestedKey, torch.Size, torch.dtype, torch.device]]:
    return [(name, value.shape, value.dtype, value.device) for name, value in _named(root, nxt)]


def _reader(keys: list[NestedKey]) -> Callable[[FlatDict], tuple[Tensor, ...]]:
    """Reads the entries under `keys`, in their order."""
    if len(keys) < 2:
        return lambda data: tuple(data[key] for key in keys)
    get: Any = itemgetter(*keys)
    return cast(Callable[[FlatDict], tuple[Tensor, ...]], get)
