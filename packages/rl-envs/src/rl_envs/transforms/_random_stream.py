"""A random stream that belongs to one transform."""

import zlib
from typing import Any, Self, final

import torch
from torch import Tensor

from rl_envs._seeding import stream_seed


@final
class RandomStream:
    """Random numbers from a generator on the CPU, so that every device gives the same.

    Copies go on by themselves from the same state. A new one has a random seed.

    Args:
        owner: who draws, and of what: streams of different owners differ, though an environment seeds them alike.
    """

    def __init__(self, *owner: object) -> None:
        self._owner = zlib.crc32(repr(owner).encode())
        self.generator = torch.Generator()
        self.generator.seed()

    def set_seed(self, seed: int) -> None:
        """Restart the stream."""
        self.generator.manual_seed(stream_seed(seed, 1 + self._owner))

    def uniform(self, shape: torch.Size, *, dtype: torch.dtype, device: torch.device | None) -> Tensor:
        """Numbers in [0, 1)."""
        return torch.rand(shape, generator=self.generator, dtype=dtype).to(device)

    def integers(self, low: int, high: int, shape: torch.Size, *, device: torch.device | None) -> Tensor:
        """Whole numbers from `low` to `high`, both included, int64."""
        return torch.randint(low, high + 1, shape, generator=self.generator).to(device)

    def state(self) -> Tensor:
        """State of the generator, for `state_dict`."""
        return self.generator.get_state()

    def load(self, state: Tensor) -> None:
        """Go on from `state`."""
        self.generator.set_state(state.cpu())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = type(self)()
        made._owner = self._owner
        made.generator.set_state(self.generator.get_state())
        memo[id(self)] = made
        return made
