"""One preallocated batch, written slice by slice.

Stacking thousands of TensorDicts costs ten times what copying their tensors does, so a batch is allocated from the
layout of its first step and each step copies its entries into the views of its time slice.
"""

import torch
from tensordict import TensorDict
from torch import Tensor

from rl_envs import pack_flat
from rl_specs import FlatDict, NestedKey, join_key


class BatchWriter:
    """Batch `[*B, T]` whose layout is that of one step.

    Args:
        root: entries before the step, each `[*B, ...]`.
        nxt: entries that the step returned, each `[*B, ...]`.
        batch_size: `B`.
        num_steps: `T`.
        device: where the batch is stored; None keeps each entry on its own device.
    """

    def __init__(
        self, root: FlatDict, nxt: FlatDict, *, batch_size: torch.Size, num_steps: int, device: torch.device | None
    ) -> None:
        self._batch_size = torch.Size((*batch_size, num_steps))
        self._device = device
        self._entries: FlatDict = {}
        self._root_keys = list(root)
        self._next_keys = list(nxt)
        slots = [self._allocate(key, value) for key, value in root.items()]
        slots += [self._allocate(join_key("next", key), value) for key, value in nxt.items()]
        self._slices = list(zip(*slots, strict=True))

    def _allocate(self, name: NestedKey, value: Tensor) -> tuple[Tensor, ...]:
        """Views of the time slices of a new entry like `value`."""
        dims = len(self._batch_size) - 1
        storage = torch.empty(
            (*self._batch_size, *value.shape[dims:]), dtype=value.dtype, device=self._device or value.device
        )
        self._entries[name] = storage
        return storage.unbind(dims)

    def write(self, step: int, root: FlatDict, nxt: FlatDict) -> None:
        """Copy the entries of one step into time slice `step`."""
        values = [root[key] for key in self._root_keys]
        values += [nxt[key] for key in self._next_keys]
        torch._foreach_copy_(self._slices[step], values)

    def finish(self, extra: FlatDict) -> TensorDict:
        """The batch as a TensorDict, its last dimension named `"time"`.

        Args:
            extra: further entries, each `[*B, T, ...]`.
        """
        for key, value in extra.items():
            self._entries[key] = value if self._device is None else value.to(self._device)
        batch = pack_flat(self._entries, self._batch_size, self._device)
        batch.names = [*[None] * (len(self._batch_size) - 1), "time"]
        return batch
