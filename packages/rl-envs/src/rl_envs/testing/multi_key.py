"""Several actions, rewards and groups of flags."""

from collections.abc import Sequence
from typing import Any, final

import torch

from rl_envs.testing._count import CountBase
from rl_specs import Categorical, Composite, FlatDict, NestedKey, TensorMap, TensorSpec


@final
class MultiKeyCountingEnv(CountBase):
    """Two players with entries of different kinds and shapes, and flags at two levels.

    Player `"left"` has an action in [-1, 1], `[*B, 1]`, and a reward `[*B, 1]`; player `"right"` has two actions of
    three choices, int64 `[*B, 2]`, rewards `[*B, 2, 1]` and flags `[*B, 2, 1]`. Rewards are the number of steps plus
    the action. The episode is truncated after `max_steps` steps. The first place of `"right"` is terminated a step
    earlier, which does not end the episode: the flags at the root decide.

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

        def composite(entries: dict[NestedKey, TensorSpec]) -> Composite:
            return Composite(entries, shape=batch, device=device)

        choice = Categorical(3, shape=(*batch, 2), dtype=torch.int64, device=device)
        flag, flags = (
            Categorical(2, shape=(*batch, *sizes), dtype=torch.bool, device=device) for sizes in ((1,), (2, 1))
        )
        single, pair = self._unbounded(1), self._unbounded(2, 1)
        self.observation_spec = composite({"count": single, ("right", "count"): pair})
        self.action_spec = composite({("left", "action"): self._within_one(1), ("right", "action"): choice})
        self.reward_spec = composite({("left", "reward"): single, ("right", "reward"): pair})
        self.done_spec = composite({"done": flag, ("right", "done"): flags})

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return self._counts(self._restart(data))

    def _step(self, data: TensorMap) -> FlatDict:
        entries = self._counts(self._advance())
        count, pair = entries["count"], entries["right", "count"]
        is_over, is_out = count >= self._limit, count >= self._limit - 1
        return {
            **entries,
            ("left", "reward"): count + data["left", "action"],
            ("right", "reward"): pair + data["right", "action"].unsqueeze(-1),
            "truncated": is_over,
            ("right", "terminated"): torch.cat((is_out, torch.zeros_like(is_out)), -1).unsqueeze(-1),
        }

    def _counts(self, count: torch.Tensor) -> FlatDict:
        pair = count.unsqueeze(-2).expand((*self._batch_size, 2, 1)).clone()
        return {"count": count, ("right", "count"): pair}
