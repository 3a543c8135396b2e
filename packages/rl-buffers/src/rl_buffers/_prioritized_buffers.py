"""Replay buffers that draw in proportion to priorities."""

import sys
from typing import Any, Unpack, final

import torch

from rl_buffers._arguments import named_arguments
from rl_buffers._beta_schedule import LinearAnnealing
from rl_buffers._buffer import BufferBase
from rl_buffers._buffer_parts import default_storage
from rl_buffers._options import RingOptions
from rl_buffers._part_sources import SamplerSource, StorageSource, WriterSource, made_sampler, made_storage, nothing
from rl_buffers._prioritized_sampler import PrioritizedSampler
from rl_buffers._prioritized_sampler_base import Normalization
from rl_buffers._priority_values import Reduction
from rl_buffers._storage import Storage
from rl_buffers._tensordict_buffer import TensorDictBufferBase
from rl_buffers.samplers import Sampler
from rl_specs import NestedKey, message


@final
class PrioritizedReplayBuffer(BufferBase):
    """A `ReplayBuffer` that draws rows in proportion to priorities; see `PrioritizedSampler`.

    `sample(return_info=True)` gives the weights as `info["_weight"]`; after the step,
    `update_priority(info["index"], priority, info["_stamp"])` sets the rows' priorities.

    Args:
        alpha: exponent of priorities, >= 0.
        beta: exponent of weights, >= 0: a number or a schedule.
        eps: added to every priority.
        dtype: of the weights.
        reduction: what several priorities of one row amount to.
        normalization: what weights are divided by.
        sampler: another sampler by priority, in place of the one that the arguments above describe.
        storage, writer and those after it: as for `ReplayBuffer`.
    Raises:
        TypeError: `sampler` keeps no priorities.
        ValueError: no `sampler`, and a storage without a limit.
    """

    @named_arguments
    def __init__(
        self,
        *,
        alpha: float,
        beta: float | LinearAnnealing,
        eps: float = 1e-8,
        dtype: torch.dtype = torch.float32,
        reduction: Reduction = "max",
        normalization: Normalization = "buffer",
        storage: StorageSource | None = None,
        sampler: SamplerSource | None = None,
        writer: WriterSource | None = None,
        **options: Unpack[RingOptions],
    ) -> None:
        rows = made_storage(self._name, storage, default_storage)
        drawn = _sampler(self, rows, sampler, alpha, beta, eps, dtype, reduction, normalization)
        super().__init__(storage=rows, sampler=drawn, writer=writer, **options)

    def _accept(self, data: Any, method: str) -> Any:
        return data

    def _annotate(self, batch: Any, info: dict[str, Any]) -> Any:
        return batch


@final
class TensorDictPrioritizedReplayBuffer(TensorDictBufferBase):
    """A `TensorDictReplayBuffer` that draws rows in proportion to priorities; see `PrioritizedSampler`.

    Batches have the weights as `"_weight"`. Once the loss has written the priorities to the batch,
    `update_tensordict_priority(batch)` sets them. Rows that `extend`, `add` or `buffer[...] = rows` store with an entry
    `priority_key` enter with these priorities.

    Args:
        alpha: exponent of priorities, >= 0.
        beta: exponent of weights, >= 0: a number or a schedule.
        priority_key: the entry with priorities.
        eps: added to every priority.
        dtype: of the weights.
        reduction: what several priorities of one row amount to.
        normalization: what weights are divided by.
        sampler: another sampler by priority, in place of the one that the arguments above describe.
        storage, writer and those after it: as for `TensorDictReplayBuffer`.
    Raises:
        TypeError: `sampler` keeps no priorities.
        ValueError: no `sampler`, and a storage without a limit.
    """

    @named_arguments
    def __init__(
        self,
        *,
        alpha: float,
        beta: float | LinearAnnealing,
        priority_key: NestedKey = "td_error",
        eps: float = 1e-8,
        dtype: torch.dtype = torch.float32,
        reduction: Reduction = "max",
        normalization: Normalization = "buffer",
        storage: StorageSource | None = None,
        sampler: SamplerSource | None = None,
        writer: WriterSource | None = None,
        **options: Unpack[RingOptions],
    ) -> None:
        rows = made_storage(self._name, storage, default_storage)
        drawn = _sampler(self, rows, sampler, alpha, beta, eps, dtype, reduction, normalization)
        super().__init__(storage=rows, sampler=drawn, writer=writer, priority_key=priority_key, **options)


def _sampler(
    buffer: BufferBase,
    storage: Storage,
    sampler: SamplerSource | None,
    alpha: float,
    beta: float | LinearAnnealing,
    eps: float,
    dtype: torch.dtype,
    reduction: Reduction,
    normalization: Normalization,
) -> Sampler:
    """The sampler given, or the one that the arguments describe."""
    if sampler is None and storage.max_size == sys.maxsize:
        fix = "Give the storage a max_size, or sampler=PrioritizedSampler(max_capacity, alpha, beta)"
        problem = "the storage has no limit, priorities need one"
        raise ValueError(message(type(buffer).__name__, problem, fix=fix))
    if sampler is None:
        return PrioritizedSampler(
            storage.max_size, alpha, beta, eps=eps, dtype=dtype, reduction=reduction, normalization=normalization
        )
    given = made_sampler(type(buffer).__name__, sampler, nothing)
    if not given.keeps_priorities:
        expected = "a sampler that keeps priorities"
        raise TypeError(message(type(buffer).__name__, "sampler", expected=expected, found=repr(given)))
    return given
