"""Agents that differ in what they see and do."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from rl_envs.testing._count import CountBase
from rl_specs import Composite, FlatDict, NestedKey, TensorMap, TensorSpec


@final
class HeterogeneousCountingEnv(CountBase):
    """Agents `"agent_0"`, `"agent_1"`, ..., each of which sees the number of steps, in a width of its own.

    Observation and action of agent `i` are `[*B, i + 1]`; its reward, `[*B, 1]`, is the number of steps plus the sum of
    its action. All agents end together.

    Args:
        batch_size: batch shape.
        num_agents: number of agents.
        max_steps: steps of an episode, one number or one per row (`[*B]`).
        device: device of the tensors.
    """

    def __init__(
        self,
        batch_size: Sequence[int] = (),
        *,
        num_agents: int = 3,
        max_steps: int | Sequence[Any] = 5,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(batch_size, device=device, max_steps=max_steps)
        self._agents = [(f"agent_{index}", index + 1) for index in range(num_agents)]
        observations: dict[NestedKey, TensorSpec] = {}
        actions: dict[NestedKey, TensorSpec] = {}
        rewards: dict[NestedKey, TensorSpec] = {}
        for name, size in self._agents:
            observations[name, "observation"] = self._unbounded(size)
            actions[name, "action"] = self._within_one(size)
            rewards[name, "reward"] = self._unbounded(1)
        self.observation_spec = Composite(observations, shape=self._batch_size, device=device)
        self.action_spec = Composite(actions, shape=self._batch_size, device=device)
        self.reward_spec = Composite(rewards, shape=self._batch_size, device=device)

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return self._observed(self._restart(data))

    def _step(self, data: TensorMap) -> FlatDict:
        count = self._advance()
        rewards: FlatDict = {
            (name, "reward"): count + data[name, "action"].sum(-1, keepdim=True) for name, _ in self._agents
        }
        return {**self._observed(count), **rewards, **self._ended()}

    def _observed(self, count: Tensor) -> FlatDict:
        return {(name, "observation"): count.repeat_interleave(size, -1) for name, size in self._agents}
