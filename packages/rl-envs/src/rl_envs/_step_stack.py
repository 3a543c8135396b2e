"""Steps of a rollout, made into one batch.

Tensors of a step are stacked some steps after they were made, and not at the end of the rollout: they are still in the
cache then, and the memory that they leave behind serves the steps to come.
"""

from collections.abc import Callable, Collection
from typing import TypeAlias

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from rl_envs._flat import pack_flat
from rl_specs import FlatDict, NestedKey, ShapeError, join_key, key_str, message

Step: TypeAlias = tuple[FlatDict, FlatDict]
"""Root entries of a step, and those that the step returned."""

_STACKED_AT_ONCE = 128
"""Steps whose tensors are stacked together."""


def merged(step: Step) -> FlatDict:
    """Entries of the root, and under `"next"` those that the step returned."""
    root, following = step
    return {**root, **{join_key("next", key): value for key, value in following.items()}}


class StepStack:
    """Collects steps, and gives them as one batch `[*B, T]`.

    Args:
        batch_size: `B`.
        change_last: applied to what the last step returned, before it is stacked.
        may_change: whether steps may differ in their entries; asked before they are stacked.
        keeps_steps: leave every step as it is until the end, for `steps` and `lazy`.
    """

    def __init__(
        self,
        batch_size: torch.Size,
        *,
        change_last: Callable[[FlatDict], FlatDict] | None,
        may_change: Callable[[], bool],
        keeps_steps: bool = False,
    ) -> None:
        self._batch_size = batch_size
        self._change_last = change_last
        self._may_change = may_change
        self._stacks_early: bool | None = False if keeps_steps else None
        self._waiting: list[Step] = []
        self._blocks: list[FlatDict] = []

    def append(self, step: Step) -> None:
        """Take the next step; its tensors are not to be written to afterwards."""
        if len(self._waiting) >= _STACKED_AT_ONCE:
            if self._stacks_early is None:
                self._stacks_early = all(isinstance(value, Tensor) for part in step for value in part.values())
            if self._stacks_early:
                self._stack()
        self._waiting.append(step)

    def steps(self) -> list[FlatDict]:
        """Entries of each step, those that it returned under `"next"`; all steps have the same.

        Raises:
            RuntimeError: steps have different entries.
        """
        self._finish_last()
        steps = [merged(step) for step in self._waiting]
        if self._may_change():
            _check_same_entries([step.keys() for step in steps])
        return steps

    def batch(self, device: torch.device | None) -> TensorDict:
        """The batch, its last dimension named `"time"`.

        Raises:
            ShapeError: an entry changes its shape from step to step.
            RuntimeError: steps have different entries.
        """
        self._finish_last()
        self._stack()
        dim = len(self._batch_size)
        blocks = self._blocks
        _check_same_entries([block.keys() for block in blocks])
        whole = blocks[0] if len(blocks) == 1 else {key: _joined(key, blocks, dim) for key in blocks[0]}
        length = next(iter(whole.values())).shape[dim]
        result: TensorDict = pack_flat(whole, torch.Size((*self._batch_size, length)), device)
        result.names = [*([None] * dim), "time"]
        return result

    def lazy(self, device: torch.device | None) -> TensorDictBase:
        """The steps as a lazy stack, its last dimension named `"time"`."""
        dim = len(self._batch_size)
        steps = [pack_flat(step, self._batch_size, device) for step in self.steps()]
        result: TensorDictBase = TensorDict.lazy_stack(steps, dim)
        result.names = [*([None] * dim), "time"]
        return result

    def _finish_last(self) -> None:
        if self._change_last is not None:
            root, following = self._waiting[-1]
            self._waiting[-1] = root, self._change_last(following)
            self._change_last = None

    def _stack(self) -> None:
        if self._may_change():
            _check_same_entries([merged(step).keys() for step in self._waiting])
        self._blocks.append(_stacked_steps(self._waiting, len(self._batch_size)))
        self._waiting = []


def _check_same_entries(keys: list[Collection[NestedKey]]) -> None:
    """Refuse a batch in which not every step has every entry."""
    changed = {key for each in keys for key in set(each) ^ set(keys[0])}
    if changed:
        names = ", ".join(sorted(key_str(key) for key in changed))
        fix = "Change transforms between rollouts, or have the callback change what keeps the entries"
        raise RuntimeError(message("rollout", f"entries changed while it ran: {names}", fix=fix))


def _stacked_steps(steps: list[Step], dim: int) -> FlatDict:
    """Entries `[*B, n]` of `n` steps."""
    roots, following = zip(*steps, strict=True)
    after = {key: [entries[key] for entries in following] for key in following[0]}
    stacked_after = {key: _stacked(key, values, dim) for key, values in after.items()}
    stacked: FlatDict = {}
    for key in roots[0]:
        values = [root[key] for root in roots]
        stacked[key] = (
            _stacked_root(key, values, after[key], stacked_after[key], dim)
            if key in after
            else _stacked(key, values, dim)
        )
    stacked.update({join_key("next", key): value for key, value in stacked_after.items()})
    return stacked


def _stacked(key: NestedKey, values: list[Tensor], dim: int) -> Tensor:
    try:
        return torch.stack(values, dim)
    except RuntimeError as error:
        raise _other_shape(key, values, error) from None


def _joined(key: NestedKey, blocks: list[FlatDict], dim: int) -> Tensor:
    values = [block[key] for block in blocks]
    try:
        return torch.cat(values, dim)
    except RuntimeError as error:
        raise _other_shape(key, [value.select(dim, 0) for value in values], error) from None


def _other_shape(key: NestedKey, values: list[Tensor], error: Exception) -> Exception:
    """What to say of an entry that changes its shape; `error` where that is not why it cannot be stacked."""
    shapes = list(dict.fromkeys(tuple(value.shape) for value in values))
    if len(shapes) == 1:
        return error
    fix = "Pass return_contiguous=False for a lazy stack of the steps"
    return ShapeError(message("rollout", f"{key_str(key)} has another shape from step to step", found=shapes, fix=fix))


def _stacked_root(key: NestedKey, values: list[Tensor], after: list[Tensor], stacked_after: Tensor, dim: int) -> Tensor:
    """`_stacked` of values most of which are what the step before returned, `after`, stacked already."""
    pairs = enumerate(zip(values[1:], after, strict=False), 1)
    others = [index for index, (value, moved) in pairs if value is not moved]
    is_tensor = isinstance(values[0], Tensor) and isinstance(after[0], Tensor)
    is_alike = is_tensor and values[0].shape == after[0].shape and values[0].dtype is after[0].dtype
    if not is_alike or 4 * len(others) > len(values):
        return _stacked(key, values, dim)
    stacked = torch.cat((values[0].unsqueeze(dim), stacked_after.narrow(dim, 0, len(values) - 1)), dim)
    for index in others:
        stacked.select(dim, index).copy_(values[index])
    return stacked
