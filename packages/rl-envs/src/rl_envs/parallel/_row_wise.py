"""What travels between a `ParallelEnv` and its workers where that goes environment by environment."""

from collections.abc import Sequence
from typing import final

from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs._many_envs import stacked_rows
from rl_envs._ragged import joined_rows, row_entries
from rl_envs.parallel._apart import ApartEntries, Exchange, handed_over
from rl_envs.parallel._pool import WorkerPool
from rl_envs.parallel._sections import FRESH, GIVEN, NEXT, ROOT, is_mixed, root_keys, rows_of
from rl_envs.parallel._table import Table
from rl_specs import FlatDict


@final
class RowWise:
    """Rows of environments that differ, or that have entries without a place in shared memory.

    Args:
        pool: runs the environments.
        table: has the tensors.
        specs: of each environment.
        slices: the environments of each worker.
    """

    def __init__(self, pool: WorkerPool, table: Table, specs: Sequence[EnvSpecs], slices: Sequence[slice]) -> None:
        every = range(len(specs))
        self._pool = pool
        self._root, self._next, self._fresh = (rows_of(table, name, every) for name in (ROOT, NEXT, FRESH))
        self._keys = root_keys(table, len(specs))
        self._joined = joined_rows if is_mixed(table) else stacked_rows
        self._apart = [ApartEntries(each) for each in specs]
        self._given: list[FlatDict] = [{} for _ in every]
        self._exchange: Exchange | None = None
        if any(self._apart):
            zeros = [{key: leaf.zero() for key, leaf in each.next.items()} for each in self._apart]
            self._exchange = Exchange(pool, slices, zeros)

    def hand_over(self, entries: FlatDict) -> bytes:
        """Give each environment what it reads; where the workers find each root entry, as `SOURCES` has it.

        A tensor goes to those that read it, if it fits all of them.
        """
        given = [row_entries(entries, row) for row in range(len(self._root))]
        sources = bytearray(len(self._keys))
        for position, key in enumerate(self._keys):
            pairs = [(row.get(key), table[key]) for row, table in zip(given, self._root, strict=True) if key in table]
            fits = [value is not None and _fits(value, target) for value, target in pairs]
            if all(fits):
                for value, target in pairs:
                    assert value is not None
                    target.copy_(value.detach())
                sources[position] = GIVEN
        if self._exchange is not None:
            self._given = [handed_over(row, apart.root) for row, apart in zip(given, self._apart, strict=True)]
        return bytes(sources)

    def run(self, command: bytes, workers: Sequence[int] | None = None) -> Sequence[int]:
        """See `WorkerPool.run`."""
        if self._exchange is None:
            return self._pool.run(command, workers)
        return self._exchange.run(command, workers, self._given)

    def following(self) -> FlatDict:
        """What the last step returned, copied."""
        return self._joined([self._copied(row, table) for row, table in enumerate(self._next)])

    def fresh(self) -> FlatDict:
        """What the last reset returned, copied."""
        return self._joined([self._copied(row, table) for row, table in enumerate(self._fresh)])

    def release(self) -> None:
        """Let go of the shared memory."""
        self._root, self._next, self._fresh, self._keys = [], [], [], []

    def _copied(self, row: int, table: FlatDict) -> FlatDict:
        entries = {key: value.clone() for key, value in table.items()}
        if self._exchange is None:
            return entries
        apart, answered = self._apart[row], self._exchange.rows[row]
        leaves = apart.next if table is self._next[row] else apart.fresh
        return {**entries, **{key: answered[key] for key in leaves}}


def _fits(value: Tensor, target: Tensor) -> bool:
    return value.dtype is target.dtype and value.shape == target.shape
