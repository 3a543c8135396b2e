"""Observations that are text."""

from collections.abc import Sequence
from typing import Any, final

import torch
from tensordict import NonTensorData, NonTensorStack
from torch import Tensor

from rl_envs.testing._count import CountBase
from rl_specs import Composite, FlatDict, NonTensor, TensorMap


@final
class TextCountingEnv(CountBase):
    """Says how many steps there have been: `"text"` is `"step 0"`, `"step 1"`, ..., each row with its own.

    The observation `"count"`, `[*B, 1]`, is the same number; the reward is the action, `[*B, 1]`.

    Args:
        batch_size: batch shape.
        max_steps: steps of an episode, one number or one per row (`[*B]`).
        device: device of the tensors.
    """

    def __init__(
        self,
        batch_size: Sequence[int] = (),
        *,
        max_steps: int | Sequence[Any] = 5,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(batch_size, device=device, max_steps=max_steps)
        batch = self._batch_size
        text = NonTensor(batch, self._device, example_data="step 0")
        self.observation_spec = Composite({"text": text, "count": self._unbounded(1)}, shape=batch, device=device)
        self.action_spec = Composite({"action": self._within_one(1)}, shape=batch, device=device)

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return self._observed(self._restart(data))

    def _step(self, data: TensorMap) -> FlatDict:
        return {**self._observed(self._advance()), "reward": data["action"].clone(), **self._ended()}

    def _observed(self, count: Tensor) -> FlatDict:
        text: Any = _texts(count.squeeze(-1))
        return {"text": text, "count": count}


def _texts(count: Tensor) -> NonTensorData | NonTensorStack:
    if count.ndim == 0:
        return NonTensorData(f"step {int(count)}")
    return NonTensorStack(*[_texts(row) for row in count], stack_dim=0)
