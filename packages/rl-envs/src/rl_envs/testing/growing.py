"""Observations of any size."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from rl_envs.testing._count import CountBase
from rl_specs import Composite, FlatDict, TensorMap, Unbounded


@final
class GrowingEnv(CountBase):
    """Sees one point more at every step: `"points"`, `[*B, n, 2]`, all are the number of steps, `n - 1`.

    The spec of the points leaves `n` open: its shape is `(*B, -1, 2)`. All rows of a batch have as many steps behind
    them, as an episode ends in all of them together. The reward is the action, `[*B, 1]`.

    Args:
        batch_size: batch shape.
        max_steps: steps of an episode.
        device: device of the tensors.
    """

    def __init__(
        self, batch_size: Sequence[int] = (), *, max_steps: int = 5, device: torch.device | str | None = None
    ) -> None:
        super().__init__(batch_size, device=device, max_steps=max_steps)
        batch = self._batch_size
        points = Unbounded(shape=(*batch, -1, 2), device=self._device, dtype=torch.float32)
        self.observation_spec = Composite({"points": points}, shape=batch, device=device)
        self.action_spec = Composite({"action": self._within_one(1)}, shape=batch, device=device)

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return {"points": self._points(self._restart(data))}

    def _step(self, data: TensorMap) -> FlatDict:
        return {"points": self._points(self._advance()), "reward": data["action"].clone(), **self._ended()}

    def _points(self, count: Tensor) -> Tensor:
        steps = int(count.max())
        return count.unsqueeze(-1).expand(*self._batch_size, steps + 1, 2).clone()
