"""Replay buffers, for rows of any kind and for TensorDicts."""

from typing import Any, final

from rl_buffers._buffer import BufferBase
from rl_buffers._her_buffer import HERReplayBuffer
from rl_buffers._prioritized_buffers import PrioritizedReplayBuffer, TensorDictPrioritizedReplayBuffer
from rl_buffers._tensordict_buffer import TensorDictBufferBase

__all__ = [
    "HERReplayBuffer",
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
        storage: where the rows are kept, or a callable that makes it; None for `ListStorage(1000)`.
        sampler: which rows make a batch, or a callable that makes it; None for `RandomSampler()`.
        writer: which rows new ones overwrite, or a callable that makes it; None for `RoundRobinWriter()`.
        collate_fn: makes a batch of what the storage returns: a list of rows for `ListStorage`, one value with all rows
            for the others. None stacks a list of rows and leaves the rest as it is.
        batch_size: rows in a batch, for `sample()` and iteration.
        transform: callable applied to every batch; with a method `inv`, which acts on what is stored, it is an
            `InverseTransform`. See also `append_transform`.
        transform_factory: makes the transform, in place of `transform`.
        generator: source of randomness; None for torch's global one.
        prefetch: how many batches a thread makes ahead; None for none. They are the batches that would be made without,
            in the same order: whatever changes the buffer takes back those that wait, so that it pays where several
            batches are drawn after each write. New priorities alone do not, nor does what is set on the sampler: they
            count from the batches on that are chosen after them. Transforms and `collate_fn` run in that thread; those
            that draw from torch's global generator, or keep a state of their own, also do so for batches that are taken
            back.
        pin_memory: copy batches to page-locked memory, for a fast way to a GPU; needs one.
        dim_extend: which dimension of the data given to `extend` counts rows; None for the first one, or the last batch
            dimension of a storage with `ndim` > 1. `add` is not affected.
        checkpointer: how rows become files, or a callable that makes it; None for the storage's own, which it replaces.
        shared: assert that the storage is one that several processes use; see `share`.
        compilable: assert that it is none: compiled code that calls the buffer cannot wait for other processes.
        delayed_init: make storage, sampler, writer and transform at first use, so that a buffer of callables can be
            handed to another process before; None to do so with a `transform_factory`. See `initialized`.
    """

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
