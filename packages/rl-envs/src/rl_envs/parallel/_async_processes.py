"""Environments of an asynchronous pool in worker processes, over one table of shared memory."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, final

import cloudpickle  # type: ignore[import-untyped]  # ships no types
import torch
from torch import Tensor

from rl_envs._closing import close_every
from rl_envs._env_plan import RESET_KEY
from rl_envs._env_specs import EnvSpecs
from rl_envs._errors import WorkerTimeoutError
from rl_envs._many_envs import make_envs
from rl_envs.parallel._apart import ApartEntries, handed_over, returned
from rl_envs.parallel._async_backend import AsyncBackend
from rl_envs.parallel._env_row import Answer, EnvRow, Request, call_env
from rl_envs.parallel._env_task import Description, check_entries, describe, portable_rows
from rl_envs.parallel._held_requests import HeldRequests
from rl_envs.parallel._pool import PoolOptions, WorkerPool
from rl_envs.parallel._sections import CONTROL, FRESH, NEXT, ROOT, rows_of, table_layout
from rl_envs.parallel._split import split_rows
from rl_envs.parallel._table import Table
from rl_envs.parallel._worker import Task
from rl_specs import FlatDict, NestedKey, message

_ASK = "ask"
_ASK_APART = "ask apart"
"""`_ASK` with entries that do not travel in shared memory."""


@final
class ProcessesBackend(AsyncBackend):
    """Environments spread over workers; those of one worker take turns.

    Args:
        makers: make the environments, in their worker.
        num_processes: number of workers.
        options: how to run them.
    Raises:
        MemoryError, TypeError, WorkerError: see `WorkerPool`.
    """

    def __init__(self, makers: Sequence[Callable[[], Any]], num_processes: int, options: PoolOptions) -> None:
        self._component = options.component
        self._slices = split_rows(options.component, len(makers), num_processes)
        self._worker_of = [worker for worker, part in enumerate(self._slices) for _ in range(part.start, part.stop)]
        self._pool = WorkerPool(
            [partial(AsyncTask, options.component, makers[part], part.start) for part in self._slices], options
        )
        self._owed: list[deque[tuple[int, Request]]] = [deque() for _ in self._slices]
        self._held = HeldRequests(self._pool, len(self._slices))
        self._payloads: dict[tuple[object, ...], bytes] = {}

    def descriptions(self) -> list[Description]:
        """See `AsyncBackend`."""
        return self._pool.descriptions

    def connect(self, specs: EnvSpecs, *, has_member_masks: bool) -> None:
        """See `AsyncBackend`."""
        table = self._pool.share(table_layout(specs, has_member_masks=has_member_masks))
        count = len(self._worker_of)
        self._apart = [ApartEntries(each) for part in self._pool.descriptions for each in part.specs]
        self._has_apart = any(self._apart)
        self._root, self._next, self._fresh = (rows_of(table, name, range(count)) for name in (ROOT, NEXT, FRESH))
        self._mask = [table[CONTROL][RESET_KEY][index] for index in range(count)]

    def send(self, index: int, request: Request, root: FlatDict | None) -> None:
        """See `AsyncBackend`. An entry of another form than its spec's is none that the environment can read."""
        self._pool.check_usable()
        if request == "reset":
            self._send_reset(index, root)
            return
        assert root is not None
        given = self._write_root(index, root)
        if self._has_apart:
            apart = handed_over(root, self._apart[index].root)
            self._ask_apart(index, request, (given, True, False), apart)
            return
        self._ask(index, request, self._payload(index, request, given, True, False))

    def _send_reset(self, index: int, root: FlatDict | None) -> None:
        mask = None if root is None else root.get(RESET_KEY)
        if root is not None and mask is None:  # all that is given, whether specs have it or not
            self._ask_apart(index, "reset", ((), True, False), portable_rows(root, ...))
            return
        given: tuple[NestedKey, ...] = ()
        apart: FlatDict = {}
        if root is not None and mask is not None:
            self._mask[index].copy_(mask)
            given, apart = self._write_root(index, root), handed_over(root, self._apart[index].root)
        what = (given, root is not None, mask is not None)
        if self._has_apart:
            self._ask_apart(index, "reset", what, apart)
        else:
            self._ask(index, "reset", self._payload(index, "reset", *what))

    def _write_root(self, index: int, root: FlatDict) -> tuple[NestedKey, ...]:
        given: list[NestedKey] = []
        for key, target in self._root[index].items():
            value = root.get(key)
            if value is not None and value.dtype is target.dtype and value.shape == target.shape:
                target.copy_(value.detach())
                given.append(key)
        return tuple(given)

    def _ask(self, index: int, request: Request, payload: bytes) -> None:
        worker = self._worker_of[index]
        self._owed[worker].append((index, request))
        self._pool.request(worker, payload)

    def _ask_apart(self, index: int, request: Request, what: tuple[object, ...], apart: FlatDict) -> None:
        worker = self._worker_of[index]
        self._owed[worker].append((index, request))
        row = index - self._slices[worker].start
        self._held.send(worker, cloudpickle.dumps((_ASK_APART, (row, request, *what, apart))))

    def receive(self, wait_s: float | None) -> list[tuple[int, Answer]]:
        """See `AsyncBackend`."""
        owing = [worker for worker, owed in enumerate(self._owed) if owed]
        found = []
        try:
            for worker, apart in self._pool.ready(owing, wait_s):
                index, request = self._owed[worker].popleft()
                found.append((index, self._answer(index, request, apart)))
        except BaseException:
            self._release()  # the pool is closed; what raised may be held for long
            raise
        return found

    def call(self, method: str, arguments: Sequence[Any]) -> list[Any]:
        """See `AsyncBackend`."""
        answers = self._pool.call(method, [list(arguments[part]) for part in self._slices])
        return [answer for part in answers for answer in part]

    def to(self, device: torch.device) -> None:
        """See `AsyncBackend`; the environments stay where they are in their processes, and so does the memory."""

    def give_up_on(self, late: Sequence[int]) -> WorkerTimeoutError:
        """See `AsyncBackend`."""
        error = self._pool.give_up_on([self._worker_of[index] for index in late])
        self._release()
        return error

    def close(self) -> None:
        """See `AsyncBackend`."""
        self._release()
        self._pool.close()

    def _payload(self, index: int, *what: object) -> bytes:
        payload = self._payloads.get((index, *what))
        if payload is None:
            row = index - self._slices[self._worker_of[index]].start
            payload = self._payloads[(index, *what)] = cloudpickle.dumps((_ASK, (row, *what)))
        return payload

    def _answer(self, index: int, request: Request, apart: tuple[FlatDict, FlatDict] | None) -> Answer:
        """What the worker has written, copied: the next request of this environment overwrites it."""
        if apart is not None:
            return self._answer_apart(index, request, *apart)
        if request == "step":
            return Answer(_copied(self._next[index]), None)
        following = None if request == "reset" else _copied(self._next[index])
        return Answer(following, _copied(self._fresh[index]))

    def _answer_apart(self, index: int, request: Request, following: FlatDict, fresh: FlatDict) -> Answer:
        """What the worker has written, and what came beside it."""
        self._held.note_answer(self._worker_of[index])
        return Answer(
            None if request == "reset" else {**_copied(self._next[index]), **following},
            None if request == "step" else {**_copied(self._fresh[index]), **fresh},
        )

    def _release(self) -> None:
        """Let go of the shared memory."""
        self._root, self._next, self._fresh, self._mask = [], [], [], []


def _copied(entries: FlatDict) -> FlatDict:
    return {key: value.clone() for key, value in entries.items()}


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
        """See `Task`; requests are calls."""
        raise RuntimeError(message(self._component, "its workers are asked by calls"))

    def call(self, method: str, argument: Any) -> Any:
        """See `Task`."""
        if method == _ASK:
            return self._ask(*argument)
        if method == _ASK_APART:
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
