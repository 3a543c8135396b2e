"""Frames as observations."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from rl_envs.testing._count import CountBase
from rl_specs import Bounded, Composite, FlatDict, TensorMap


@final
class PixelsCountingEnv(CountBase):
    """`CountingEnv` that shows its count as the brightness of a frame, uint8 `[*B, height, width, 3]`.

    Args:
        batch_size: batch shape.
        height: of the frame, in pixels.
        width: of the frame, in pixels.
        max_steps: steps of an episode, one number or one per row (`[*B]`).
        device: device of the tensors.
    """

    def __init__(
        self,
        batch_size: Sequence[int] = (),
        *,
        height: int = 8,
        width: int = 6,
        max_steps: int | Sequence[Any] = 5,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(batch_size, device=device, max_steps=max_steps)
        self._frame = torch.Size((*self._batch_size, height, width, 3))
        pixels = Bounded(0, 255, shape=self._frame, dtype=torch.uint8, device=device)
        self.observation_spec = Composite({"pixels": pixels}, shape=self._batch_size, device=device)
        self.action_spec = self._within_one(1)
        self.reward_spec = self._unbounded(1)

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return {"pixels": self._shown(self._restart(data))}

    def _step(self, data: TensorMap) -> FlatDict:
        count = self._advance()
        return {"pixels": self._shown(count), "reward": count + data["action"], **self._ended()}

    def _shown(self, count: Tensor) -> Tensor:
        brightness = (count.squeeze(-1) * 10).clamp(max=255).to(torch.uint8)
        return brightness[..., None, None, None].expand(self._frame).clone()
