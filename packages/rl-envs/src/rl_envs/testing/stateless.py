"""An environment whose state is in the data."""

from collections.abc import Sequence
from typing import final

import torch

from rl_envs._env_base import EnvBase
from rl_specs import Bounded, Composite, FlatDict, TensorMap, Unbounded


@final
class StatelessCountingEnv(EnvBase):
    """`CountingEnv` without memory: the number of steps is an entry, `"count"`, that a step reads and returns.

    It is not `batch_locked`: `reset`, `step` and `rollout` take data of any batch size. An episode is truncated after
    `max_steps` steps.

    Args:
        batch_size: batch shape of the specs.
        max_steps: steps of an episode.
        device: device of the tensors.
    """

    accepts_mapping = True
    batch_locked = False

    def __init__(
        self,
        batch_size: Sequence[int] = (),
        *,
        max_steps: int = 5,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(device=device, batch_size=batch_size)
        shape = torch.Size((*self._batch_size, 1))
        count = Unbounded(shape=shape, device=device, dtype=torch.float32)
        self.observation_spec = Composite({"count": count}, shape=self._batch_size, device=device)
        self.state_spec = Composite({"count": count}, shape=self._batch_size, device=device)
        self.action_spec = Bounded(-1.0, 1.0, shape=shape, device=device, dtype=torch.float32)
        self._limit = max_steps

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return {"count": torch.zeros((*self._batch_size, 1), device=self._device)}

    def _step(self, data: TensorMap) -> FlatDict:
        count = data["count"] + 1
        return {"count": count, "reward": count + data["action"], "truncated": count >= self._limit}

    def _set_seed(self, seed: int) -> None:
        """Nothing is random."""
