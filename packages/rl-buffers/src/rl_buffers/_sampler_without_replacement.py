"""Passes over the rows: each once, in random order."""

from typing import Any, final

import torch
from torch import Tensor

from rl_buffers._sampler import Sampler
from rl_buffers._storage import Storage, Where
from rl_specs import message


@final
class SamplerWithoutReplacement(Sampler):
    """Each row once per pass, in random order.

    A batch never spans two passes, so the last batch of a pass is smaller when the number of rows is no multiple of the
    batch size (or is left out, with `drop_last`). The batch after it begins the next pass in a new order. Any `extend`,
    `add` or `empty` begins a new pass over all rows then stored.

    Args:
        drop_last: leave out the rows at the end of a pass that do not fill a batch.
        shuffle: False for the order of row numbers.
    """

    def __init__(self, drop_last: bool = False, shuffle: bool = True) -> None:
        self._drop_last = drop_last
        self._shuffle = shuffle
        self._order: Tensor | None = None
        self._position = 0

    def sample(
        self, storage: Storage, batch_size: int, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """See `Sampler.sample`.

        Raises:
            ValueError: `batch_size` is greater than the number of rows.
        """
        if batch_size > len(storage):
            raise ValueError(
                message(
                    "SamplerWithoutReplacement",
                    f"a batch of {batch_size} rows was asked for, without replacement",
                    expected=f"at most the {len(storage)} rows stored",
                    fix="Ask for fewer, store more first, or use RandomSampler",
                )
            )
        count = self.next_batch_size(storage, batch_size)
        if count == 0:
            self.restart()
            count = batch_size
        if self._order is None:
            self._order = self._new_order(storage, generator)
        elif self._order.device != storage.device:
            self._order = self._order.to(storage.device)
        index = self._order[self._position : self._position + count]
        self._position += count
        return index, {}

    def next_batch_size(self, storage: Storage, batch_size: int) -> int:
        """See `Sampler.next_batch_size`."""
        count = min(batch_size, len(storage) - self._position)
        return 0 if self._drop_last and count < batch_size else count

    def _new_order(self, storage: Storage, generator: torch.Generator | None) -> Tensor:
        count = len(storage)
        if not self._shuffle:
            return torch.arange(count, device=storage.device)
        if generator is None:
            return torch.randperm(count, device=storage.device)
        return torch.randperm(count, generator=generator, device=generator.device).to(storage.device)

    def restart(self) -> None:
        """Begin a new pass, in a new order."""
        self._order = None
        self._position = 0

    def clear(self) -> None:
        """Begin a new pass."""
        self.restart()

    def extend(self, storage: Storage, index: Tensor) -> None:
        """Begin a new pass, with the rows written."""
        self.restart()

    def add(self, storage: Storage, index: int) -> None:
        """Begin a new pass, with the row written."""
        self.restart()

    def overwrite(self, storage: Storage, where: Where) -> None:
        """The pass goes on: which rows there are has not changed."""

    def settings(self) -> dict[str, Any]:
        """`drop_last` and `shuffle`."""
        return {"drop_last": self._drop_last, "shuffle": self._shuffle}

    def state_dict(self) -> dict[str, Any]:
        """Order of the current pass and how far it has come."""
        order = None if self._order is None else self._order.to("cpu", copy=True)
        return {"order": order, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Sampler.load_state_dict`."""
        order: Tensor | None = state["order"]
        self._order = None if order is None else order.clone()
        self._position = state["position"]

    def __repr__(self) -> str:
        return f"SamplerWithoutReplacement(drop_last={self._drop_last}, shuffle={self._shuffle})"
