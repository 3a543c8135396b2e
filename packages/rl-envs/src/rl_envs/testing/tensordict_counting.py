"""An environment that needs TensorDicts."""

from collections.abc import Sequence
from typing import final

import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs._env_base import EnvBase
from rl_specs import Bounded, TensorMap, Unbounded


@final
class TensorDictCountingEnv(EnvBase):
    """`CountingEnv` written with methods of TensorDict, so that its `_step` has to be handed one.

    Args:
        batch_size: batch shape.
        max_steps: steps of an episode, after which it is truncated.
    """

    def __init__(self, batch_size: Sequence[int] = (), *, max_steps: int = 5) -> None:
        super().__init__(batch_size=batch_size)
        shape = torch.Size((*self._batch_size, 1))
        self.observation_spec = Unbounded(shape=shape, dtype=torch.float32)
        self.action_spec = Bounded(-1.0, 1.0, shape=shape, dtype=torch.float32)
        self._limit = max_steps

    def _reset(self, data: TensorMap | None) -> TensorDict:
        return TensorDict({"observation": torch.zeros(*self._batch_size, 1)}, batch_size=self._batch_size)

    def _step(self, data: TensorMap) -> TensorDict:
        if not isinstance(data, TensorDictBase):
            raise TypeError(f"TensorDictCountingEnv: expected a TensorDict, found {type(data).__name__}.")
        following = data.select("observation").apply(lambda count: count + 1)
        count = following.get("observation")
        following.set("reward", count + data.get("action"))
        return TensorDict({**following, "truncated": count >= self._limit}, batch_size=self._batch_size)

    def _set_seed(self, seed: int) -> None:
        self._seed = seed
