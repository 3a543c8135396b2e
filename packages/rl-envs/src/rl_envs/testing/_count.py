"""What the counting environments have in common."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rl_envs._env_base import EnvBase
from rl_envs._env_plan import RESET_KEY
from rl_specs import Bounded, FlatDict, TensorMap, Unbounded


class CountBase(EnvBase):
    """Counts the steps of each row since its reset. Abstract: subclasses say what is observed and done.

    Args:
        batch_size: batch shape.
        device: device of the tensors.
        max_steps: steps of an episode, one number or one per row (`[*B]`).
        members: shape of the counts of one row: `(1,)`, or `(n, 1)` for `n` agents that count on their own.
    """

    accepts_mapping = True

    def __init__(
        self,
        batch_size: Sequence[int],
        *,
        device: torch.device | str | None,
        max_steps: int | Sequence[Any],
        members: Sequence[int] = (1,),
    ) -> None:
        super().__init__(device=device, batch_size=batch_size)
        shape = (*self._batch_size, *members)
        limit = torch.as_tensor(max_steps, device=device).expand(self._batch_size)
        self._limit = limit.reshape(self._batch_size + (1,) * len(members))
        self._count = torch.zeros(shape, device=device)

    def _unbounded(self, *sizes: int) -> Unbounded:
        return Unbounded(shape=(*self._batch_size, *sizes), device=self._device, dtype=torch.float32)

    def _within_one(self, *sizes: int) -> Bounded:
        return Bounded(-1.0, 1.0, shape=(*self._batch_size, *sizes), device=self._device, dtype=torch.float32)

    def _restart(self, data: TensorMap | None) -> Tensor:
        """The counts after a reset of the rows of the mask, a tensor of the caller's own."""
        mask = None if data is None else data.get(RESET_KEY, None)
        if mask is None:
            self._count = torch.zeros_like(self._count)
        else:
            rows = mask.reshape(self._batch_size + (1,) * (self._count.ndim - len(self._batch_size)))
            self._count = torch.where(rows, torch.zeros_like(self._count), self._count)
        return self._count.clone()

    def _advance(self) -> Tensor:
        """The counts after a step, a tensor of the caller's own."""
        self._count = self._count + 1
        return self._count.clone()

    def _ended(self) -> FlatDict:
        """The flag `done`, `[*B, 1]`."""
        return {"done": self._count >= self._limit}

    def _set_seed(self, seed: int) -> None:
        self._count = torch.zeros_like(self._count)

    def _to(self, device: torch.device) -> None:
        self._count, self._limit = self._count.to(device), self._limit.to(device)

    @property
    def has_exact_state(self) -> bool:
        """True."""
        return True

    def get_state(self) -> dict[str, Any]:
        """The counts."""
        return {"count": self._count.clone()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned."""
        self.drive(None)
        self._count = state["count"].to(self._count.device).clone()
