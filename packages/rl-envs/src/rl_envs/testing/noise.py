"""Observations that are random."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from rl_envs._counter_random import stream_keys, uniform
from rl_envs.testing._count import CountBase
from rl_specs import Bounded, FlatDict, TensorMap


@final
class NoiseEnv(CountBase):
    """Observations drawn from a stream of each row's own, which its seed and its position in the batch decide.

    Observation and reward are uniform in [0, 1), float32 `[*B, 1]`; the action, within [-1, 1], has no effect.

    Args:
        batch_size: batch shape.
        seed: of the streams.
        max_steps: steps of an episode, one number or one per row (`[*B]`).
        device: device of the tensors.
    """

    def __init__(
        self,
        batch_size: Sequence[int] = (),
        *,
        seed: int = 0,
        max_steps: int | Sequence[Any] = 5,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(batch_size, device=device, max_steps=max_steps)
        shape = torch.Size((*self._batch_size, 1))
        unit = Bounded(0.0, 1.0, shape=shape, dtype=torch.float32, device=device)
        self.observation_spec = unit
        self.action_spec = self._within_one(1)
        self.reward_spec = unit
        self._draws = torch.zeros(shape, dtype=torch.int64, device=device)
        self._set_stream(seed, 0)

    def _reset(self, data: TensorMap | None) -> FlatDict:
        before = self._draws
        mask = None if data is None else data.get("_reset", None)
        self._restart(data)
        entries: FlatDict = {"observation": self._drawn(0)}
        if mask is not None:
            self._draws = torch.where(mask, self._draws, before)
        return entries

    def _step(self, data: TensorMap) -> FlatDict:
        self._advance()
        reward = uniform(self._keys, self._draws, 1, 0.0, 1.0)
        return {"observation": self._drawn(0), "reward": reward, **self._ended()}

    def _drawn(self, draw: int) -> Tensor:
        value = uniform(self._keys, self._draws, draw, 0.0, 1.0)
        self._draws = self._draws + 1
        return value

    def _set_seed(self, seed: int) -> None:
        self._set_stream(seed, 0)

    def _set_stream(self, seed: int, first_index: int) -> None:
        index = torch.arange(first_index, first_index + self._batch_size.numel(), device=self._draws.device)
        self._keys = stream_keys(seed, index.reshape((*self._batch_size, 1)))
        self._draws = torch.zeros_like(self._draws)

    def _to(self, device: torch.device) -> None:
        super()._to(device)
        self._keys, self._draws = self._keys.to(device), self._draws.to(device)

    def get_state(self) -> dict[str, Any]:
        """The counts, and the streams and how far they have been read."""
        return {**super().get_state(), "keys": self._keys.clone(), "draws": self._draws.clone()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned."""
        super().set_state(state)
        self._keys, self._draws = (state[name].to(self._draws.device).clone() for name in ("keys", "draws"))
