"""The plainest environment."""

from collections.abc import Sequence
from typing import Any, final

import torch

from rl_envs.testing._count import CountBase
from rl_specs import Composite, FlatDict, TensorMap, join_key


@final
class CountingEnv(CountBase):
    """Counts its steps: the observation is the number of steps since the reset, the reward that number plus the action.

    Args:
        batch_size: batch shape.
        max_steps: steps of an episode, one number or one per row (`[*B]`).
        prefix: keys under which observation, action and reward are nested, `()` for the root.
        device: device of the tensors.
    """

    def __init__(
        self,
        batch_size: Sequence[int] = (),
        *,
        max_steps: int | Sequence[Any] = 5,
        prefix: tuple[str, ...] = (),
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(batch_size, device=device, max_steps=max_steps)
        self._observation, self._action, self._reward = (
            join_key(*prefix, name) for name in ("observation", "action", "reward")
        )
        batch, count = self._batch_size, self._unbounded(1)
        self.observation_spec = Composite({self._observation: count}, shape=batch, device=device)
        self.action_spec = Composite({self._action: self._within_one(1)}, shape=batch, device=device)
        self.reward_spec = Composite({self._reward: count}, shape=batch, device=device)

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return {self._observation: self._restart(data)}

    def _step(self, data: TensorMap) -> FlatDict:
        count = self._advance()
        return {self._observation: count, self._reward: count + data[self._action], **self._ended()}
