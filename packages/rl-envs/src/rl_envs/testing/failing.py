"""An environment that breaks."""

from collections.abc import Sequence
from typing import final

import torch

from rl_envs.testing._count import CountBase
from rl_specs import FlatDict, TensorMap


@final
class FailingEnv(CountBase):
    """`CountingEnv` that raises at a step or a reset, each counted from 1 since the environment was made.

    Args:
        batch_size: batch shape.
        fail_at_step: the step that raises; None: no step does.
        fail_at_reset: the reset that raises; None: no reset does.
        error: what is raised; None: a `RuntimeError`.
        max_steps: steps of an episode.
        device: device of the tensors.
    """

    def __init__(
        self,
        batch_size: Sequence[int] = (),
        *,
        fail_at_step: int | None = None,
        fail_at_reset: int | None = None,
        error: BaseException | None = None,
        max_steps: int = 5,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(batch_size, device=device, max_steps=max_steps)
        self.observation_spec = self._unbounded(1)
        self.action_spec = self._within_one(1)
        self.reward_spec = self._unbounded(1)
        self._fail_at_step, self._fail_at_reset = fail_at_step, fail_at_reset
        self._error = RuntimeError("FailingEnv: told to fail") if error is None else error
        self.num_steps, self.num_resets = 0, 0

    def _reset(self, data: TensorMap | None) -> FlatDict:
        self.num_resets += 1
        if self.num_resets == self._fail_at_reset:
            raise self._error
        return {"observation": self._restart(data)}

    def _step(self, data: TensorMap) -> FlatDict:
        self.num_steps += 1
        if self.num_steps == self._fail_at_step:
            raise self._error
        count = self._advance()
        return {"observation": count, "reward": count + data["action"], **self._ended()}
