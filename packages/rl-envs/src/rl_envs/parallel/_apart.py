"""Entries that have no place in shared memory: text, objects, and tensors of sizes that the specs leave open.

They travel in the pipes of calls, pickled. A worker that has such entries is told to step and to reset by a call, which
brings those that it reads and is answered by those that it returns; so a step is one exchange there too.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, final

from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.parallel._pool import WorkerPool
from rl_envs.parallel._table import is_apart
from rl_specs import Composite, FlatDict, NestedKey, TensorSpec, missing_key

EXCHANGE = "exchange"
"""The call that steps or resets; its argument is the command, and the entries of each environment that it brings."""
_SHOWN = "shown"
"""The call that is answered by the entries of the last reset of each environment."""
Leaves: TypeAlias = Mapping[NestedKey, TensorSpec]

_FIX = "Return it from every environment; check_env_specs(env) lists all that differs"


def apart_entries(*specs: Composite) -> dict[NestedKey, TensorSpec]:
    """The entries of some specs that have no place in shared memory."""
    return {key: leaf for spec in specs for key, leaf in spec.flat_items() if is_apart(leaf)}


@final
class ApartEntries:
    """The entries of one environment that have no place in shared memory.

    Args:
        specs: of the environment.
    """

    def __init__(self, specs: EnvSpecs) -> None:
        self.root: Leaves = apart_entries(specs.action, specs.state, specs.observation, specs.done)
        self.next: Leaves = apart_entries(specs.observation, specs.reward, specs.done)
        self.fresh: Leaves = apart_entries(specs.observation, specs.done)

    def __bool__(self) -> bool:
        return bool(self.root or self.next)


def handed_over(entries: FlatDict, leaves: Leaves) -> FlatDict:
    """What of root entries goes to an environment.

    A tensor of another form than its spec's is one that transforms have made, and not one that it can read.
    """
    found: FlatDict = {}
    for key, leaf in leaves.items():
        value: Any = entries.get(key)
        if isinstance(value, Tensor) and (value.dtype is not leaf.dtype or value.ndim != len(leaf.shape)):
            continue
        if value is not None:
            found[key] = portable(value)
    return found


def returned(where: str, entries: FlatDict, leaves: Leaves) -> FlatDict:
    """What of the entries that an environment returned goes back.

    Raises:
        MissingKeyError: one is not there.
    """
    for key in leaves:
        if key not in entries:
            raise missing_key(where, key, entries, fix=_FIX)
    return {key: portable(entries[key]) for key in leaves}


def portable(value: Any) -> Any:
    """An entry that can be pickled for another process."""
    return value.detach().cpu()


@final
class Exchange:
    """Steps and resets of workers by calls, as the parent sees them.

    Args:
        pool: its tasks answer `EXCHANGE` and `"shown"`.
        slices: the environments of each worker.
        zeros: for each environment what stands for its entries before it has answered.
    """

    def __init__(self, pool: WorkerPool, slices: Sequence[slice], zeros: Sequence[FlatDict]) -> None:
        self._pool = pool
        self._slices = slices
        self.rows = list(zeros)
        """What each environment has answered last."""

    def run(
        self, command: bytes, workers: Sequence[int] | None = None, given: Sequence[FlatDict] | None = None
    ) -> Sequence[int]:
        """`WorkerPool.run`; the answers are in `rows`, of workers that were started anew those of their reset.

        Args:
            command: `STEP`, `RESET` or `RESET_ALL`.
            workers: which; None: all.
            given: what goes to each environment; None: nothing.
        """
        chosen = range(len(self._slices)) if workers is None else workers
        brought = [{}] * len(self.rows) if given is None else given
        arguments = {worker: (command, list(brought[self._slices[worker]])) for worker in chosen}
        answers, replaced = self._pool.exchange(EXCHANGE, arguments)
        lost = set(replaced)
        while replaced:
            shown = self._pool.call(_SHOWN, [None] * len(self._slices))
            answers.update({worker: shown[worker] for worker in lost})
            replaced = self._pool.mend()
            lost.update(replaced)
        for worker, rows in answers.items():
            part = self._slices[worker]
            self.rows[part] = [{**old, **row} for old, row in zip(self.rows[part], rows, strict=True)]
        return sorted(lost)
