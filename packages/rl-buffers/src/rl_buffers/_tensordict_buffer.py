"""What buffers of TensorDicts share: batches that say where they come from."""

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase

from rl_buffers._arguments import named_arguments
from rl_buffers._buffer import BufferBase
from rl_buffers._layout import stack_rows
from rl_buffers._part_sources import SamplerSource, StorageSource, Transform, WriterSource
from rl_buffers._storage import Block
from rl_specs import NestedKey, message, missing_key

_OWN_ENTRIES = ("index", "_weight", "_stamp")
"""Entries that a buffer adds to batches, not stored again. A batch has the first of them always."""


class TensorDictBufferBase(BufferBase):
    """See `TensorDictReplayBuffer`."""

    @named_arguments
    def __init__(
        self,
        *,
        storage: StorageSource | None = None,
        sampler: SamplerSource | None = None,
        writer: WriterSource | None = None,
        collate_fn: Callable[[Any], Any] | None = None,
        batch_size: int | None = None,
        transform: Transform | None = None,
        transform_factory: Callable[[], Transform] | None = None,
        generator: torch.Generator | None = None,
        prefetch: int | None = None,
        pin_memory: bool = False,
        dim_extend: int | None = None,
        shared: bool = False,
        compilable: bool | None = None,
        delayed_init: bool | None = None,
        priority_key: NestedKey = "td_error",
    ) -> None:
        super().__init__(
            storage=storage,
            sampler=sampler,
            writer=writer,
            collate_fn=collate_fn,
            batch_size=batch_size,
            transform=transform,
            transform_factory=transform_factory,
            generator=generator,
            prefetch=prefetch,
            pin_memory=pin_memory,
            dim_extend=dim_extend,
            shared=shared,
            compilable=compilable,
            delayed_init=delayed_init,
        )
        self._priority_key = priority_key

    @property
    def priority_key(self) -> NestedKey:
        """The entry with priorities."""
        return self._priority_key

    def update_tensordict_priority(self, data: TensorDictBase) -> None:
        """Give the rows of a batch the priorities in its entry `priority_key`.

        Rows that were overwritten since the batch was drawn keep the priorities that they have: the batch's entry
        `"_stamp"` tells. See `Sampler.update_priority` for what is refused.

        Args:
            data: a batch that `sample` returned, or a part of it, with the new priorities `[n, ...]`.
        Raises:
            MissingKeyError: no priorities or no `"index"` in it.
        """
        index = data.get("index", None)
        priority = data.get(self._priority_key, None)
        if index is None or priority is None:
            key = "index" if index is None else self._priority_key
            fix = "Give a batch that sample returned, with the priorities written to it; priority_key names their entry"
            name = f"{self._name}.update_tensordict_priority"
            raise missing_key(name, key, data.keys(include_nested=True, leaves_only=True), fix=fix)
        self.update_priority(index, priority, data.get("_stamp", None))

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
        return data.exclude(*_OWN_ENTRIES) if "index" in data else data

    def _priority_entry(self, data: Any, block: Block) -> NestedKey | None:
        if not self._sampler.keeps_priorities:
            return None
        priority = data.get(self._priority_key, None)
        if priority is None:
            return None
        self._sampler.check_priority(priority if data.ndim else priority.unsqueeze(0), block.count)
        return self._priority_key

    def _annotate(self, batch: Any, info: dict[str, Any]) -> Any:
        batch_size = batch.batch_size
        is_new = self._collate_fn is None and type(batch) is TensorDict and len(batch_size) == 1
        for key, value in info.items():
            if is_new and type(key) is str:  # of a batch made here, `set` would check what samplers promise
                batch._set_str(key, value, validated=True, inplace=False, non_blocking=False)
                continue
            if len(batch_size) > 1:
                lead = value.reshape(len(value), *[1] * (len(batch_size) - 1), *value.shape[1:])
                value = lead.expand(*batch_size, *value.shape[1:]).contiguous()
            batch.set(key, value)
        return batch
