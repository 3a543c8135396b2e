"""Replay buffers, for rows of any kind and for TensorDicts."""

from collections.abc import Callable
from typing import Any, final

import torch

from rl_buffers._buffer import BufferBase
from rl_buffers._prioritized_buffers import PrioritizedReplayBuffer, TensorDictPrioritizedReplayBuffer
from rl_buffers._storage import Storage
from rl_buffers._tensordict_buffer import TensorDictBufferBase
from rl_buffers.samplers import Sampler
from rl_buffers.writers import Writer
from rl_specs import NestedKey

__all__ = [
    "PrioritizedReplayBuffer",
    "ReplayBuffer",
    "TensorDictPrioritizedReplayBuffer",
    "TensorDictReplayBuffer",
]


@final
class ReplayBuffer(BufferBase):
    """Rows of any kind, kept in a storage, overwritten in turn, and sampled.

    Every method may be called from several threads: writes, draws and checkpoints exclude each other; `collate_fn`
    and transforms run outside the lock.

    Args:
        storage: where the rows are kept; None for `ListStorage(1000)`.
        sampler: which rows make a batch; None for `RandomSampler()`.
        writer: which rows new ones overwrite; None for `RoundRobinWriter()`.
        collate_fn: makes a batch of what the storage returns: a list of rows for `ListStorage`, one value with all rows
            for the others. None stacks a list of rows and leaves the rest as it is.
        batch_size: rows in a batch, for `sample()` and iteration.
        transform: callable applied to every batch; with a method `inv`, which acts on what is stored, it is an
            `InverseTransform`. See also `append_transform`.
        generator: source of randomness; None for torch's global one.
    """

    def __init__(
        self,
        *,
        storage: Storage | None = None,
        sampler: Sampler | None = None,
        writer: Writer | None = None,
        collate_fn: Callable[[Any], Any] | None = None,
        batch_size: int | None = None,
        transform: Callable[[Any], Any] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            storage=storage,
            sampler=sampler,
            writer=writer,
            collate_fn=collate_fn,
            batch_size=batch_size,
            transform=transform,
            generator=generator,
        )

    def _accept(self, data: Any, method: str) -> Any:
        return data

    def _annotate(self, batch: Any, info: dict[str, Any]) -> Any:
        return batch


@final
class TensorDictReplayBuffer(TensorDictBufferBase):
    """A `ReplayBuffer` of TensorDicts, whose batches say where they come from.

    Every batch has the entry `"index"` (int64 `[n]`, row numbers) and whatever else the sampler says of the rows. Such
    a batch can be stored again: these entries of data are not stored. In rows that have batch dimensions of their own,
    they are repeated along them.

    Args: as for `ReplayBuffer`, and
        priority_key: the entry with priorities, for `update_tensordict_priority` and for rows that are stored with
            priorities; read with samplers that keep some.
    """

    def __init__(
        self,
        *,
        storage: Storage | None = None,
        sampler: Sampler | None = None,
        writer: Writer | None = None,
        collate_fn: Callable[[Any], Any] | None = None,
        batch_size: int | None = None,
        transform: Callable[[Any], Any] | None = None,
        generator: torch.Generator | None = None,
        priority_key: NestedKey = "td_error",
    ) -> None:
        super().__init__(
            storage=storage,
            sampler=sampler,
            writer=writer,
            collate_fn=collate_fn,
            batch_size=batch_size,
            transform=transform,
            generator=generator,
            priority_key=priority_key,
        )
