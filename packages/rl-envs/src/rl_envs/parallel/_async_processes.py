"""Environments of an asynchronous pool in worker processes, over one table of shared memory."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, final

import cloudpickle  # type: ignore[import-untyped]  # ships no types
import torch

from rl_envs._env_plan import RESET_KEY
from rl_envs._env_specs import EnvSpecs
from rl_envs.parallel._apart import ApartEntries, handed_over
from rl_envs.parallel._async_backend import AsyncBackend
from rl_envs.parallel._async_task import ASK, ASK_APART, AsyncTask
from rl_envs.parallel._broken_episodes import BrokenRows
from rl_envs.parallel._env_row import Answer, Request
from rl_envs.parallel._env_task import Description, portable_rows
from rl_envs.parallel._held_requests import HeldRequests
from rl_envs.parallel._pool import PoolOptions, WorkerPool
from rl_envs.parallel._sections import CONTROL, FRESH, NEXT, ROOT, rows_of, table_layout
from rl_envs.parallel._split import split_rows
from rl_specs import FlatDict, NestedKey

_SETS_STATE = ("set_state", "load_state_dict")


class _Asked(NamedTuple):
    """A request that is under way, and what its worker was sent."""

    env_index: int
    request: Request
    payload: bytes
    is_masked: bool = False
    is_apart: bool = False


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
        self._owed: list[deque[_Asked]] = [deque() for _ in self._slices]
        self._can_restart = options.restart_on_failure > 0
        self._broken: BrokenRows | None = None
        self._ready: list[tuple[int, Answer]] = []
        self._ended: dict[int, FlatDict] = {}
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
        if self._can_restart:
            self._broken = BrokenRows([each for part in self._pool.descriptions for each in part.specs])
        self._root, self._next, self._fresh = (rows_of(table, name, range(count)) for name in (ROOT, NEXT, FRESH))
        self._mask = [table[CONTROL][RESET_KEY][index] for index in range(count)]

    def send(self, index: int, request: Request, root: FlatDict | None) -> None:
        """See `AsyncBackend`. An entry of another form than its spec's is none that the environment can read."""
        self._pool.check_usable()
        if request == "reset":
            self._send_reset(index, root)
            return
        assert root is not None
        if self._broken is not None and (end := self._broken.take_end(index)) is not None:
            self._answer_with(index, request, end)
            return
        given = self._write_root(index, root)
        if self._has_apart:
            apart = handed_over(root, self._apart[index].root)
            self._ask_apart(index, request, (given, True, False), apart)
            return
        self._ask(_Asked(index, request, self._payload(index, request, given, True, False)))

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
            self._ask(_Asked(index, "reset", self._payload(index, "reset", *what), is_masked=mask is not None))

    def _write_root(self, index: int, root: FlatDict) -> tuple[NestedKey, ...]:
        given: list[NestedKey] = []
        for key, target in self._root[index].items():
            value = root.get(key)
            if value is not None and value.dtype is target.dtype and value.shape == target.shape:
                target.copy_(value.detach())
                given.append(key)
        return tuple(given)

    def _ask_apart(self, index: int, request: Request, what: tuple[object, ...], apart: FlatDict) -> None:
        row = index - self._slices[self._worker_of[index]].start
        payload = cloudpickle.dumps((ASK_APART, (row, request, *what, apart)))
        self._ask(_Asked(index, request, payload, is_masked=request == "reset" and what[-1] is True, is_apart=True))

    def _ask(self, asked: "_Asked") -> None:
        worker = self._worker_of[asked.env_index]
        self._owed[worker].append(asked)
        if asked.is_apart:
            self._held.send(worker, asked.payload)
        else:
            self._pool.request(worker, asked.payload)

    def _answer_with(self, index: int, request: Request, end: FlatDict) -> None:
        """Answer a step of a broken episode; what it goes on from then, an environment that was started anew tells."""
        if request == "step":
            self._ready.append((index, Answer(end, None)))
            return
        self._ended[index] = end
        if self._has_apart:
            self._ask_apart(index, "reset", ((), False, False), {})
        else:
            self._ask(_Asked(index, "reset", self._payload(index, "reset", (), False, False)))

    def receive(self, wait_s: float | None) -> list[tuple[int, Answer]]:
        """See `AsyncBackend`."""
        found, self._ready = self._ready, []
        owing = [worker for worker, owed in enumerate(self._owed) if owed]
        try:
            answers, replaced = self._pool.gather(owing, 0.0 if found else wait_s)
            for worker, apart in answers:
                asked = self._owed[worker].popleft()
                found.append((asked.env_index, self._noted(asked, self._answer(asked, apart))))
            self._begin_anew(replaced)
        except BaseException:
            self._release()  # the pool is closed; what raised may be held for long
            raise
        return found

    def _begin_anew(self, workers: Sequence[int]) -> None:
        """The episodes of workers that were started anew are broken; what was asked of them is asked again."""
        if self._broken is None or not workers:
            return
        self.restarts += len(workers)
        for worker in workers:
            lost = list(self._owed[worker])
            self._owed[worker].clear()
            self._held.forget(worker)
            for index in range(self._slices[worker].start, self._slices[worker].stop):
                self._broken.lose(index)
            for asked in lost:
                end = None if asked.request == "reset" else self._broken.take_end(asked.env_index)
                if end is None:
                    self._ask(asked)
                else:
                    self._answer_with(asked.env_index, asked.request, end)

    def _noted(self, asked: "_Asked", answer: Answer) -> Answer:
        """`answer`, with the step that ended the episode before it, if one did."""
        if self._broken is None:
            return answer
        index = asked.env_index
        if answer.fresh is None:
            assert answer.following is not None
            self._broken.after_step(index, answer.following)
        elif answer.following is not None:
            self._broken.after_step(index, answer.fresh)
        else:
            self._broken.after_reset(index, answer.fresh, self._mask[index].clone() if asked.is_masked else None)
        return Answer(self._ended.pop(index), answer.fresh) if index in self._ended else answer

    def call(self, method: str, arguments: Sequence[Any], *, is_lasting: bool = False) -> list[Any]:
        """See `AsyncBackend`."""
        parts = [list(arguments[part]) for part in self._slices]
        answers = self._pool.call(method, parts, is_lasting=is_lasting)
        if self._broken is not None:
            self._begin_anew(self._pool.mend())
            if method in _SETS_STATE:
                self._broken.forget()
        return [answer for part in answers for answer in part]

    def to(self, device: torch.device) -> None:
        """See `AsyncBackend`; the environments stay where they are in their processes, and so does the memory."""

    def give_up_on(self, late: Sequence[int]) -> None:
        """See `AsyncBackend`."""
        try:
            self._begin_anew(self._pool.give_up_on([self._worker_of[index] for index in late]))
        except BaseException:
            self._release()
            raise

    def close(self) -> None:
        """See `AsyncBackend`."""
        self._release()
        self._pool.close()

    def _payload(self, index: int, *what: object) -> bytes:
        payload = self._payloads.get((index, *what))
        if payload is None:
            row = index - self._slices[self._worker_of[index]].start
            payload = self._payloads[(index, *what)] = cloudpickle.dumps((ASK, (row, *what)))
        return payload

    def _answer(self, asked: "_Asked", apart: tuple[FlatDict, FlatDict] | None) -> Answer:
        """What the worker has written, copied: the next request of this environment overwrites it."""
        index, request = asked.env_index, asked.request
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
