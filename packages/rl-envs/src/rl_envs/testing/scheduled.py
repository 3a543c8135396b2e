"""Episodes that end when and how they are told to."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

import torch

from rl_envs._env_plan import RESET_KEY
from rl_envs.testing._count import CountBase
from rl_specs import FlatDict, TensorMap

Ending = Literal["terminated", "truncated", "both"]


@final
class ScheduledEnv(CountBase):
    """Episodes of given lengths, ended in given ways, over and over; each row goes through the list on its own.

    The observation is the number of steps since the reset, `[*B, 1]`, and the reward is 1 a step.

    Args:
        lengths: steps of the first, second, ... episode.
        endings: how they end, one for each; None: all are terminated.
        batch_size: batch shape.
        device: device of the tensors.
    Raises:
        ValueError: no episode is given, one has no steps, or there is another number of endings.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        endings: Sequence[Ending] | None = None,
        *,
        batch_size: Sequence[int] = (),
        device: torch.device | str | None = None,
    ) -> None:
        kinds = ["terminated"] * len(lengths) if endings is None else list(endings)
        if not lengths or min(lengths) < 1 or len(kinds) != len(lengths):
            raise ValueError(f"ScheduledEnv: expected lengths >= 1 and one ending each, found {lengths} and {endings}.")
        super().__init__(batch_size, device=device, max_steps=1)
        self._lengths = torch.tensor(list(lengths), device=device)
        self._terminates = torch.tensor([kind != "truncated" for kind in kinds], device=device)
        self._truncates = torch.tensor([kind != "terminated" for kind in kinds], device=device)
        self._episode = torch.full_like(self._count, -1, dtype=torch.int64)
        self.observation_spec = self._unbounded(1)
        self.action_spec = self._within_one(1)
        self.reward_spec = self._unbounded(1)

    def _reset(self, data: TensorMap | None) -> FlatDict:
        mask = None if data is None else data.get(RESET_KEY, None)
        self._episode = self._episode + 1 if mask is None else self._episode + mask
        return {"observation": self._restart(data)}

    def _step(self, data: TensorMap) -> FlatDict:
        count = self._advance()
        place = self._episode % len(self._lengths)
        is_over = count >= self._lengths[place]
        flags: FlatDict = {
            "terminated": is_over & self._terminates[place],
            "truncated": is_over & self._truncates[place],
        }
        return {"observation": count, "reward": torch.ones_like(count), **flags}

    def _set_seed(self, seed: int) -> None:
        super()._set_seed(seed)
        self._episode = torch.full_like(self._episode, -1)

    def _to(self, device: torch.device) -> None:
        super()._to(device)
        self._lengths, self._episode = self._lengths.to(device), self._episode.to(device)
        self._terminates, self._truncates = self._terminates.to(device), self._truncates.to(device)

    def get_state(self) -> dict[str, Any]:
        """The counts, and the episodes that the rows are in."""
        return {**super().get_state(), "episode": self._episode.clone()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned."""
        super().set_state(state)
        self._episode = state["episode"].to(self._episode.device).clone()
