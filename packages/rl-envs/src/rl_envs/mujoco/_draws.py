"""Random numbers for the first states of episodes."""

from typing import final

import torch
from torch import Tensor

from rl_envs._counter_random import doubles


@final
class Draws:
    """Random numbers for the envs that start an episode.

    Those of an env are functions of the seed, its position and the number of its resets: the other envs of the batch,
    and which of them are reset along with it, make no difference.

    Args:
        keys: int64 `[n]`, streams of the envs that start.
        resets: int64 `[n]`, number of their resets so far.
    """

    def __init__(self, keys: Tensor, resets: Tensor) -> None:
        self._keys = keys
        self._resets = resets
        self._drawn = 0

    @property
    def num_envs(self) -> int:
        """Number of envs `n` that start an episode."""
        return len(self._keys)

    def uniform(self, low: float, high: float, count: int) -> Tensor:
        """`count` numbers per env between `low` and `high`, float64 `[n, count]`."""
        return low + (high - low) * self._next(count)

    def normal(self, scale: float, count: int) -> Tensor:
        """`count` normal numbers per env with mean 0 and standard deviation `scale`, float64 `[n, count]`."""
        numbers: Tensor = torch.special.ndtri(self._next(count))
        return scale * numbers

    def _next(self, count: int) -> Tensor:
        first, self._drawn = self._drawn, self._drawn + count
        return doubles(self._keys, self._resets, first, count)
