"""Replay buffers, for rows of any kind and for TensorDicts."""

from collections.abc import Callable
from typing import Any, final

import torch
from tensordict import TensorDictBase

from rl_buffers._buffer import BufferBase
from rl_buffers._layout import stack_rows
from rl_buffers._storage import Storage
from rl_buffers.samplers import Sampler
from rl_buffers.writers import Writer
from rl_specs import message


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
class TensorDictReplayBuffer(BufferBase):
    """A `ReplayBuffer` of TensorDicts, whose batches say where they come from.

    Every batch has the entry `"index"` (int64 `[n]`, row numbers) and whatever else the sampler says of the rows. Such
    a batch can be stored again: the entry `"index"` of data is not stored. In rows that have batch dimensions of their
    own, these entries are repeated along them.

    Args: as for `ReplayBuffer`.
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
        if type(data) is list:
            data = stack_rows(data, f"{self._name}.{method}")
        if not isinstance(data, TensorDictBase):
            raise TypeError(
                message(
                    f"{self._name}.{method}",
                    "the data",
                    expected="a TensorDict",
                    found=type(data).__name__,
                    fix="Use ReplayBuffer for other data",
                )
            )
        return data.exclude("index") if "index" in data else data

    def _annotate(self, batch: Any, info: dict[str, Any]) -> Any:
        batch_size = batch.batch_size
        for key, value in info.items():
            if len(batch_size) > 1:
                lead = value.reshape(len(value), *[1] * (len(batch_size) - 1), *value.shape[1:])
                value = lead.expand(*batch_size, *value.shape[1:]).contiguous()
            batch.set(key, value)
        return batch
