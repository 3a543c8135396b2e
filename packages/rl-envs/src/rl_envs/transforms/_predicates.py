"""Conditions that a person writes on the entries of a step, as masks of rows."""

from collections.abc import Callable
from typing import Any, TypeAlias, final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._flat import pack_flat
from rl_specs import ShapeError, TensorMap, message

Predicate: TypeAlias = Callable[[TensorDictBase], Any]
"""From entries to a bool, or to a tensor `[*B]` or `[*B, 1]` that is taken for bools."""


@final
class RowPredicate:
    """A `Predicate` whose answer has one form.

    Args:
        name: what messages call it.
        predicate: the condition.
        batch_size: of the entries, `B`.
        device: of the entries.
    """

    def __init__(self, name: str, predicate: Predicate, *, batch_size: torch.Size, device: torch.device | None) -> None:
        self._name = name
        self._predicate = predicate
        self._batch_size = batch_size
        self._device = device
        self._shape = torch.Size((*batch_size, 1))

    def __call__(self, data: TensorMap) -> Tensor:
        """Rows in which the condition holds, bool `[*B, 1]`.

        Raises:
            ShapeError: the answer is a tensor of another shape.
        """
        given = pack_flat(data, self._batch_size, self._device) if isinstance(data, dict) else data
        answer = self._predicate(given)  # type: ignore[arg-type]  # what is no dict is a TensorDict
        if not isinstance(answer, Tensor):
            return torch.full(self._shape, bool(answer), device=self._device)
        rows = answer.bool()
        if rows.shape == self._shape:
            return rows
        if rows.shape == self._batch_size:
            return rows.unsqueeze(-1)
        if rows.ndim == 0:
            return rows.expand(self._shape)
        fix = "Give one bool per row of the batch, or one for all"
        raise ShapeError(
            message(self._name, "another shape", expected=tuple(self._shape), found=tuple(rows.shape), fix=fix)
        )
