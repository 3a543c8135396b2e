"""The part of a worker in an asynchronous pool: its environments, and the requests that they answer."""

from collections.abc import Callable, Sequence
from typing import Any, final

from torch import Tensor

from rl_envs._closing import close_every
from rl_envs._env_plan import RESET_KEY
from rl_envs._many_envs import make_envs
from rl_envs.parallel._apart import ApartEntries, returned
from rl_envs.parallel._env_row import EnvRow, Request, call_env
from rl_envs.parallel._env_task import Description, check_entries, describe
from rl_envs.parallel._sections import CONTROL, FRESH, NEXT, ROOT, rows_of
from rl_envs.parallel._table import Table
from rl_envs.parallel._worker import Task
from rl_specs import FlatDict, NestedKey, message

ASK = "ask"
ASK_APART = "ask apart"
"""`ASK` with entries that do not travel in shared memory."""


@final
class AsyncTask(Task):
    """Answers requests to environments `first, first + 1, ...` one after the other.

    Args:
        component: who owns the environments, for messages.
        makers: make them.
        first: position of the first one.
    """

    def __init__(self, component: str, makers: Sequence[Callable[[], Any]], first: int) -> None:
        self._component = component
        self._envs = make_envs(component, makers)
        self._rows = [EnvRow(env) for env in self._envs]
        self._first = first
        self._unchecked = {(section, row) for section in (NEXT, FRESH) for row in range(len(self._envs))}

    def describe(self) -> Description:
        """See `Task`."""
        return describe(self._envs)

    def connect(self, table: Table) -> None:
        """See `Task`."""
        rows = range(self._first, self._first + len(self._envs))
        device = self._envs[0].device
        self._device = None if device is None or device.type == "cpu" else device
        self._root, self._next, self._fresh = (rows_of(table, name, rows) for name in (ROOT, NEXT, FRESH))
        self._mask = [table[CONTROL][RESET_KEY][row] for row in rows]
        self._apart = [ApartEntries(env._env_specs()) for env in self._envs]

    def step(self) -> None:
        """See `Task`; requests are calls."""
        raise RuntimeError(message(self._component, "its workers are asked by calls"))

    def reset(self, *, is_partial: bool) -> None:
        """See `Task`; of everything, after the worker was started anew. Other requests are calls."""
        if is_partial:
            raise RuntimeError(message(self._component, "its workers are asked by calls"))
        for row in self._rows:
            row.answer("reset", None)

    def call(self, method: str, argument: Any) -> Any:
        """See `Task`."""
        if method == ASK:
            return self._ask(*argument)
        if method == ASK_APART:
            return self._ask_apart(*argument)
        return [call_env(env, method, each) for env, each in zip(self._envs, argument, strict=True)]

    def close(self) -> None:
        """See `Task`."""
        close_every(self._envs)

    def _ask(self, row: int, request: Request, given: tuple[NestedKey, ...], has_root: bool, has_mask: bool) -> None:
        root: FlatDict | None = None
        if has_root:
            root = {key: self._moved(self._root[row][key].clone()) for key in given}
            if has_mask:
                root[RESET_KEY] = self._moved(self._mask[row].clone())
        answer = self._rows[row].answer(request, root)
        if answer.following is not None:
            self._write(NEXT, row, answer.following, self._next[row])
        if answer.fresh is not None:
            self._write(FRESH, row, answer.fresh, self._fresh[row])

    def _ask_apart(
        self,
        row: int,
        request: Request,
        given: tuple[NestedKey, ...],
        has_root: bool,
        has_mask: bool,
        brought: FlatDict,
    ) -> tuple[FlatDict, FlatDict]:
        """`_ask` with root entries beside those in the table; what goes back beside it, of a step and of a reset."""
        root: FlatDict | None = None
        if has_root:
            in_table = {key: self._root[row][key].clone() for key in given}
            root = {key: self._moved(value) for key, value in {**in_table, **brought}.items()}
            if has_mask:
                root[RESET_KEY] = self._moved(self._mask[row].clone())
        answer = self._rows[row].answer(request, root)
        following: FlatDict = {}
        fresh: FlatDict = {}
        if answer.following is not None:
            self._write(NEXT, row, answer.following, self._next[row])
            following = returned(f"{self._component}, _step", answer.following, self._apart[row].next)
        if answer.fresh is not None:
            self._write(FRESH, row, answer.fresh, self._fresh[row])
            fresh = returned(f"{self._component}, _reset", answer.fresh, self._apart[row].fresh)
        return following, fresh

    def _write(self, section: str, row: int, entries: FlatDict, targets: FlatDict) -> None:
        if (section, row) in self._unchecked:
            check_entries(f"{self._component}, {'_step' if section == NEXT else '_reset'}", entries, targets)
            self._unchecked.remove((section, row))
        for key, target in targets.items():
            target.copy_(entries[key].detach())

    def _moved(self, value: Tensor) -> Tensor:
        return value if self._device is None else value.to(self._device)
