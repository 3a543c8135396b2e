"""Discrete actions in every encoding."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, final

import torch

from rl_envs.testing._count import CountBase
from rl_specs import (
    Binary,
    Categorical,
    Composite,
    FlatDict,
    MultiCategorical,
    MultiOneHot,
    OneHot,
    TensorMap,
    TensorSpec,
)

Encoding = Literal["categorical", "one_hot", "multi_categorical", "multi_one_hot", "binary"]

_SPECS: dict[Encoding, Callable[[], TensorSpec]] = {
    "categorical": lambda: Categorical(4, dtype=torch.int64),
    "one_hot": lambda: OneHot(4, dtype=torch.int64),
    "multi_categorical": lambda: MultiCategorical([2, 3], dtype=torch.int64),
    "multi_one_hot": lambda: MultiOneHot([2, 3], dtype=torch.int64),
    "binary": lambda: Binary(shape=(3,), dtype=torch.int8),
}


@final
class DiscreteCountingEnv(CountBase):
    """`CountingEnv` with discrete actions.

    The reward is the number of steps plus the sum over the last dimension of the action of `(position + 1) * value`,
    where a category without such a dimension counts as `value`.

    Args:
        batch_size: batch shape.
        encoding: of the action: one of 4 categories as an index or one-hot, one of 2 and one of 3 in either form, or
            three bits.
        max_steps: steps of an episode, one number or one per row (`[*B]`).
        device: device of the tensors.
    """

    def __init__(
        self,
        batch_size: Sequence[int] = (),
        *,
        encoding: Encoding = "categorical",
        max_steps: int | Sequence[Any] = 5,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(batch_size, device=device, max_steps=max_steps)
        action = _SPECS[encoding]()
        if self._batch_size:
            action = action.expand((*self._batch_size, *action.shape))
        self.observation_spec = self._unbounded(1)
        self.action_spec = Composite({"action": action}, shape=self._batch_size, device=device)
        self.reward_spec = self._unbounded(1)

    def _reset(self, data: TensorMap | None) -> FlatDict:
        return {"observation": self._restart(data)}

    def _step(self, data: TensorMap) -> FlatDict:
        count = self._advance()
        values = data["action"].to(torch.float32).reshape((*self._batch_size, -1))
        weights = torch.arange(1, values.shape[-1] + 1, device=values.device)
        return {"observation": count, "reward": count + (values * weights).sum(-1, keepdim=True), **self._ended()}
