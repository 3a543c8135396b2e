"""Uniform draws with replacement."""

from typing import Any, final

import torch
from torch import Tensor

from rl_buffers._sampler import Sampler, draw
from rl_buffers._storage import Storage, Where


@final
class RandomSampler(Sampler):
    """Rows drawn uniformly, with replacement. Iterating over the buffer never ends."""

    def sample(
        self, storage: Storage, batch_size: int, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """See `Sampler.sample`; `batch_size` may be greater than the number of rows."""
        return draw(0, len(storage), batch_size, storage, generator), {}

    def restart(self) -> None:
        """Nothing is remembered between batches."""

    def clear(self) -> None:
        """Nothing is remembered about rows."""

    def extend(self, storage: Storage, index: Tensor) -> None:
        """Nothing is remembered about rows."""

    def add(self, storage: Storage, index: int) -> None:
        """Nothing is remembered about rows."""

    def overwrite(self, storage: Storage, where: Where) -> None:
        """Nothing is remembered about rows."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""

    def __repr__(self) -> str:
        return "RandomSampler()"
