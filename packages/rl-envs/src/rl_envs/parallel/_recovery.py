"""Workers started anew in place of those that failed."""

import logging
import pickle
import select
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, final

import cloudpickle  # type: ignore[import-untyped]  # ships no types

from rl_envs._errors import WorkerError
from rl_envs.parallel._failures import broken, died, timed_out
from rl_envs.parallel._processes import Processes
from rl_envs.parallel._wiring import CALL, read_frame, write_frame
from rl_envs.parallel._worker import AFRESH, PING, Failure

_LOG = logging.getLogger("rl_envs.parallel")
_END_WAIT_S = 5.0
_PING: bytes = cloudpickle.dumps((PING, None))
_AFRESH: bytes = cloudpickle.dumps((AFRESH, None))

_Why: TypeAlias = Callable[..., WorkerError]
"""Makes the error that tells why a worker failed; takes `outcome`, what became of it."""


class _EndedError(Exception):
    """The worker that is waited for has ended."""


@final
class Recovery:
    """Replaces the workers of a pool that fail, each up to a number of times; what replaces them starts all over.

    Args:
        processes: of the pool, made with `can_restart`.
        component: who owns the pool, for messages.
        restarts: how many times each worker is started anew.
        timeout_s: longest time for a step, a reset or a call.
    """

    def __init__(self, processes: Processes, component: str, restarts: int, timeout_s: float | None) -> None:
        self._processes = processes
        self._component = component
        self._restarts = restarts
        self._timeout_s = timeout_s
        self._counts: Counter[int] = Counter()
        self._exits: dict[int, int] = {}
        self._lasting: dict[str, Sequence[bytes]] = {}
        self._replaced: set[int] = set()

    def remember(self, method: str, payloads: Sequence[bytes]) -> None:
        """Have workers that are started anew begin with a call, after those remembered before.

        Args:
            method: the call; it takes the place of an earlier one of that name.
            payloads: what each worker is sent.
        """
        self._lasting.pop(method, None)
        self._lasting[method] = payloads

    def take_replaced(self) -> list[int]:
        """The workers that were replaced since this was asked last; they have reset all their environments."""
        replaced = sorted(self._replaced)
        self._replaced.clear()
        return replaced

    def call(self, payloads: Sequence[bytes]) -> list[bytes]:
        """Answers of all workers as they came, of new ones where others have ended."""
        frames = []
        for worker, payload in enumerate(payloads):
            frame, why = self._ask(worker, payload, self._timeout_s)
            while why is not None:
                self._await_end(worker)
                self._replace(worker, why)
                frame, why = self._ask(worker, payload, self._timeout_s)
            frames.append(frame)
        return frames

    def exchange(self, payloads: Mapping[int, bytes]) -> dict[int, Any]:
        """Answers of workers that work on a call at the same time; those that fail are replaced, and have none.

        Args:
            payloads: what each of them is sent.
        Raises:
            WorkerError: see `recover`.
        """
        deadline = self._deadline(self._timeout_s)
        unsent = {worker: self._send(worker, payload, deadline) for worker, payload in payloads.items()}
        failed = {worker: why for worker, why in unsent.items() if why is not None}
        answers: dict[int, Any] = {}
        for worker in payloads.keys() - failed.keys():
            frame, why = self._receive(worker, deadline)
            answer = pickle.loads(frame) if why is None else None
            if isinstance(answer, Failure):
                why = partial(broken, self._component, worker, answer)
            if why is None:
                answers[worker] = answer
            else:
                failed[worker] = why
        self._replace_all(failed)
        return {worker: answer for worker, answer in answers.items() if worker not in self._replaced}

    def request(self, worker: int, payload: bytes) -> None:
        """Ask one worker for a call; one that has ended is replaced by `gather`, one that is late by `replace_late`."""
        self._send(worker, payload, self._deadline(self._timeout_s))

    def gather(self, workers: Sequence[int], wait_s: float | None) -> list[tuple[int, Any]]:
        """Wait until a worker has an answer to a `request`, or has failed, and replace those that have.

        Args:
            workers: those that owe an answer.
            wait_s: how long to wait; None: without limit.
        Returns:
            Workers and answers; none when time is up, and where all there was to learn are failures.
        Raises:
            WorkerError: see `recover`.
        """
        owners = {self._processes.replies[worker]: worker for worker in workers}
        poll = select.poll()
        for fd in (*owners, *self._processes.statuses):
            poll.register(fd, select.POLLIN)
        limit_ms = 0 if self._exits else None if wait_s is None else max(wait_s, 0.0) * 1000
        events = [fd for fd, _ in poll.poll(limit_ms)]
        answers = []
        failed: dict[int, _Why] = {}
        deadline = self._deadline(self._timeout_s)
        for worker in sorted(owners[fd] for fd in events if fd in owners):
            frame, why = self._receive(worker, deadline)
            answer = pickle.loads(frame) if why is None else None
            if isinstance(answer, Failure):
                why = partial(broken, self._component, worker, answer)
            if why is None:
                answers.append((worker, answer))
            else:
                failed[worker] = why
        if failed or self._exits or any(fd not in owners for fd in events):
            self._replace_all(failed)
        return answers

    def replace_late(self, workers: Sequence[int]) -> None:
        """Replace workers that have not answered in time.

        Raises:
            WorkerError: see `recover`.
        """
        limit_s = self._timeout_s or 0.0
        self._replace_all({worker: partial(timed_out, self._component, [worker], limit_s) for worker in workers})

    def recover(self, told: Sequence[int], late: Sequence[int]) -> None:
        """Wait until all workers have finished or failed, and replace those that failed.

        Args:
            told: workers that are at work on a command.
            late: those of them that have not finished in time.
        Raises:
            WorkerError: one has failed too often, or the process that starts them is gone.
        """
        failed: dict[int, _Why] = {
            worker: partial(timed_out, self._component, [worker], self._timeout_s or 0.0) for worker in late
        }
        for worker in told:
            if worker not in failed and (why := self._problem(worker, _PING, self._timeout_s)) is not None:
                failed[worker] = why
        self._replace_all(failed)

    def _replace_all(self, failed: Mapping[int, _Why]) -> None:
        """Replace those that failed, and those that have ended without a word."""
        self._exits.update(self._processes.exits(time.monotonic()))
        while failed := self._with_the_dead(failed):
            for worker in failed:
                self._await_end(worker)
            self._processes.forget_rounds()
            for worker, why in failed.items():
                self._replace(worker, why)
            failed = {}
            self._exits.update(self._processes.exits(time.monotonic()))

    def _with_the_dead(self, failed: Mapping[int, _Why]) -> dict[int, _Why]:
        """`failed`, and those that have ended without a word."""
        dead = {
            worker: partial(died, self._component, {worker: status})
            for worker, status in self._exits.items()
            if worker not in failed
        }
        return {**failed, **dead}

    def _replace(self, worker: int, why: _Why) -> None:
        problem: _Why | None = why
        while problem is not None:
            self._counts[worker] += 1
            count = self._counts[worker]
            if count > self._restarts:
                raise problem()
            _LOG.warning("%s", problem(outcome=f"and is started anew ({count} of {self._restarts})"))
            del self._exits[worker]
            self._replaced.add(worker)
            self._processes.start_anew(worker)
            problem = self._bring_up(worker)
            if problem is not None:
                self._await_end(worker)

    def _bring_up(self, worker: int) -> _Why | None:
        """Bring a new worker to where the others are; what went wrong, if anything did."""
        why = self._problem(worker, None, None)  # what its task describes, which is known
        for payload in (*(payloads[worker] for payloads in self._lasting.values()), _AFRESH):
            why = why or self._problem(worker, payload, self._timeout_s)
        return why

    def _problem(self, worker: int, payload: bytes | None, limit_s: float | None) -> _Why | None:
        """Have a worker answer; what went wrong, if anything did, an exception in the call included."""
        frame, why = self._ask(worker, payload, limit_s)
        answer = pickle.loads(frame) if why is None else None
        return partial(broken, self._component, worker, answer) if isinstance(answer, Failure) else why

    def _ask(self, worker: int, payload: bytes | None, limit_s: float | None) -> tuple[bytes, _Why | None]:
        """The answer of a worker as it came; or why there is none."""
        deadline = self._deadline(limit_s)
        why = None if payload is None else self._send(worker, payload, deadline)
        return self._receive(worker, deadline) if why is None else (b"", why)

    def _send(self, worker: int, payload: bytes, deadline: float | None) -> _Why | None:
        """Ask a worker; what went wrong, if anything did."""
        wait = partial(self._wait_for, worker, deadline)
        return self._tried(worker, partial(write_frame, self._processes.commands[worker], payload, wait, command=CALL))[
            1
        ]

    def _receive(self, worker: int, deadline: float | None) -> tuple[bytes, _Why | None]:
        """What a worker answers, as it came; or why there is nothing."""
        wait = partial(self._wait_for, worker, deadline)
        frame, why = self._tried(worker, partial(read_frame, self._processes.replies[worker], wait))
        return frame or b"", why

    def _tried(self, worker: int, talk: Callable[[], bytes | None]) -> tuple[bytes | None, _Why | None]:
        """What comes of talking to a worker; or what kept it from it."""
        try:
            return talk(), None
        except _EndedError:
            return None, partial(died, self._component, {worker: self._exits[worker]})
        except TimeoutError:
            return None, partial(timed_out, self._component, [worker], self._timeout_s or 0.0)
        except (EOFError, BrokenPipeError):
            raise died(self._component, {}) from None

    def _deadline(self, limit_s: float | None) -> float | None:
        return None if limit_s is None else time.monotonic() + limit_s

    def _wait_for(self, worker: int, deadline: float | None, fd: int, event: int) -> None:
        """A `Wait` that ends with the worker and with the time."""
        poll = select.poll()
        poll.register(fd, event)
        for status in self._processes.statuses:
            poll.register(status, select.POLLIN)
        while True:
            is_over = worker in self._exits  # it may have spoken before it ended
            limit_ms = None if deadline is None else max(deadline - time.monotonic(), 0.0) * 1000
            events = poll.poll(0 if is_over else limit_ms)
            if any(ready == fd for ready, _ in events):
                return
            if is_over:
                raise _EndedError
            if not events:
                raise TimeoutError
            self._note_an_end(time.monotonic())

    def _await_end(self, worker: int) -> None:
        """Kill a worker that has not ended, and wait for its end."""
        if worker not in self._exits:
            self._processes.kill(worker)
        deadline = time.monotonic() + _END_WAIT_S
        while worker not in self._exits:
            self._note_an_end(deadline)

    def _note_an_end(self, deadline: float) -> None:
        found = self._processes.exits(deadline)
        if not found:  # an end without a record is that of the process that writes them
            raise died(self._component, {})
        self._exits.update(found)
