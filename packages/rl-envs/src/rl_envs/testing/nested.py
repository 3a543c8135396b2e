"""Several agents with flags of their own."""

from collections.abc import Sequence
from typing import Any, final

import torch

from rl_envs._env_plan import RESET_KEY
from rl_envs.testing._count import CountBase
from rl_specs import Categorical, Composite, FlatDict, TensorMap

_MASK = ("agents", RESET_KEY)


@final
class NestedCountingEnv(CountBase):
    """Agents that count their own steps: every entry is nested under `"agents"`, `[*B, n, 1]`, flags included.

    The observation of an agent is its number of steps, its reward that number plus its action. Agent `i` is terminated
    after `max_steps + i` steps. A reset takes the mask `("agents", "_reset")` to start some of the agents anew.

    Args:
        batch_size: batch shape.
        num_agents: number of agents `n`.
        max_steps: steps of an episode of agent 0, one number or one per row (`[*B]`).
        device: device of the tensors.
    """

    resets_members = True

    def __init__(
        self,
        batch_size: Sequence[int] = (),
        *,
        num_agents: int = 2,
        max_steps: int | Sequence[Any] = 5,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(batch_size, device=device, max_steps=max_steps, members=(num_agents, 1))
        batch, count = self._batch_size, self._unbounded(num_agents, 1)
        flag = Categorical(2, shape=count.shape, dtype=torch.bool, device=device)
        self.observation_spec = Composite({("agents", "observation"): count}, shape=batch, device=device)
        action = self._within_one(num_agents, 1)
        self.action_spec = Composite({("agents", "action"): action}, shape=batch, device=device)
        self.reward_spec = Composite({("agents", "reward"): count}, shape=batch, device=device)
        self.done_spec = Composite({("agents", "done"): flag}, shape=batch, device=device)
        self._limit = self._limit + torch.arange(num_agents, device=device).unsqueeze(-1)

    def _reset(self, data: TensorMap | None) -> FlatDict:
        members = None if data is None else data.get(_MASK, None)
        if members is None:
            return {("agents", "observation"): self._restart(data)}
        self._count = torch.where(members, torch.zeros_like(self._count), self._count)
        return {("agents", "observation"): self._count.clone()}

    def _step(self, data: TensorMap) -> FlatDict:
        count = self._advance()
        return {
            ("agents", "observation"): count,
            ("agents", "reward"): count + data["agents", "action"],
            ("agents", "terminated"): count >= self._limit,
        }
