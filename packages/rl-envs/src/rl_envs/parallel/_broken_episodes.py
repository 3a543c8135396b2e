"""Episodes that a failed worker has broken off, and the steps that end them."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from rl_envs._env_plan import merge_reset
from rl_envs._env_specs import EnvSpecs
from rl_envs._ragged import joined_rows
from rl_specs import Composite, FlatDict, NestedKey

_TRUE_FLAGS = ("done", "truncated")


@final
class BrokenEpisodes:
    """Ends each episode that is lost with a worker by a step that repeats its last observation, truncated, reward 0.

    Args:
        specs: of the batch `[N, *B]`.
        parts: the environments of each worker, along the first dimension.
    """

    def __init__(self, specs: EnvSpecs, parts: Sequence[slice]) -> None:
        self._parts = parts
        self._batch_dims = len(specs.done.shape)
        rows = [_zeros(own.observation) for own in specs.rows]
        self._last: FlatDict = joined_rows(rows) if rows else _zeros(specs.observation)
        self._observation: list[NestedKey] = list(self._last)
        self._end = end_flags(specs)
        self._none = torch.zeros((*specs.done.shape, 1), dtype=torch.bool)
        self._rows: Tensor | None = None

    def lose(self, workers: Sequence[int]) -> None:
        """The episodes of these workers are broken."""
        if workers:
            rows = self._none.clone() if self._rows is None else self._rows.clone()
            for worker in workers:
                rows[self._parts[worker]] = True
            self._rows = rows

    def forget(self) -> None:
        """No episode is broken: each goes on from a state that was set."""
        self._rows = None

    def after_reset(self, fresh: FlatDict, rows: Tensor | None, replaced: Sequence[int]) -> None:
        """Take note of a reset.

        Args:
            fresh: what it returned, on the CPU.
            rows: those that were reset, bool `[N, *B, 1]`; None: all.
            replaced: workers that were started anew meanwhile.
        """
        observed = {key: fresh[key].clone() for key in self._observation}
        if rows is None:
            self._rows, self._last = None, observed
            return
        self._last = merge_reset(self._last, observed, rows, self._batch_dims)
        self.lose(replaced)
        if self._rows is not None:
            broken = self._rows & ~rows
            self._rows = broken if bool(broken.any()) else None

    def after_step(self, following: FlatDict, replaced: Sequence[int]) -> FlatDict:
        """What a step returned, with the last step of every broken episode in its place.

        Args:
            following: entries of all environments, on the CPU.
            replaced: workers that were started anew meanwhile.
        Returns:
            `following` itself where no episode is broken.
        """
        self.lose(replaced)
        if self._rows is not None:
            end = {key: value.clone() for key, value in {**self._end, **self._last}.items()}
            following = merge_reset(following, end, self._rows, self._batch_dims)
            self._rows = None
        self._last = {key: following[key].clone() for key in self._observation}
        return following


@final
class BrokenRows:
    """`BrokenEpisodes` of environments that answer one by one: they are broken, and end, as a whole.

    Args:
        specs: of each environment, `[*B]`.
    """

    def __init__(self, specs: Sequence[EnvSpecs]) -> None:
        self._ends = [end_flags(each) for each in specs]
        self._last = [_zeros(each.observation) for each in specs]
        self._broken: set[int] = set()

    def lose(self, index: int) -> None:
        """The episode of an environment is broken."""
        self._broken.add(index)

    def forget(self) -> None:
        """No episode is broken: each goes on from a state that was set."""
        self._broken.clear()

    def after_reset(self, index: int, fresh: FlatDict, rows: Tensor | None) -> None:
        """Take note of what a reset returned, of all rows or of those of a mask `[*B, 1]`; that mends nothing."""
        observed = {key: fresh[key].clone() for key in self._last[index]}
        if rows is None or bool(rows.all()):
            self._broken.discard(index)
            self._last[index] = observed
        else:
            self._last[index] = merge_reset(self._last[index], observed, rows, rows.ndim - 1)

    def after_step(self, index: int, following: FlatDict) -> None:
        """Take note of what a step returned, or of what an environment that is done goes on from."""
        self._last[index] = {key: following[key].clone() for key in self._last[index]}

    def take_end(self, index: int) -> FlatDict | None:
        """The step that ends a broken episode; None where it is not broken."""
        if index not in self._broken:
            return None
        self._broken.remove(index)
        return {key: value.clone() for key, value in {**self._ends[index], **self._last[index]}.items()}


def end_flags(specs: EnvSpecs) -> FlatDict:
    """Rewards and flags of a step that ends a broken episode."""
    end: FlatDict = {key: spec.zero().cpu() for key, spec in specs.reward.flat_items()}
    for key, spec in specs.done.flat_items():
        name = key if isinstance(key, str) else key[-1]
        flag = spec.zero().cpu()
        end[key] = torch.ones_like(flag) if name in _TRUE_FLAGS else flag
    return end


def _zeros(spec: Composite) -> FlatDict:
    return {key: leaf.zero().cpu() for key, leaf in spec.flat_items()}
