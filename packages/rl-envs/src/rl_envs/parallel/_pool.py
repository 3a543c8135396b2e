"""Worker processes over one table of shared memory, as the parent sees them."""

import contextlib
import multiprocessing.util
import os
import pickle
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import cloudpickle  # type: ignore[import-untyped]  # ships no types
import torch

from rl_envs._errors import ClosedEnvError, WorkerError, WorkerTimeoutError
from rl_envs.parallel._failures import broken, died, not_started, raised, timed_out
from rl_envs.parallel._launch import START_METHODS, StartMethod
from rl_envs.parallel._processes import Processes
from rl_envs.parallel._recovery import Recovery
from rl_envs.parallel._segment import map_segment, reserve
from rl_envs.parallel._table import Layout, Table, TensorForm, table_bytes
from rl_envs.parallel._wiring import CALL, DONE, FAILED, TOKEN, read_frame, write_frame
from rl_envs.parallel._worker import SHARE, Failure, Task
from rl_specs import NestedKey, message

_FAILURE_WAIT_S = 2.0
_MADE_WAIT_S = 1.0
_LONGEST_S = 1_000_000
"""The longest limit: the system does not wait for as long as one may write."""


@dataclass(frozen=True)
class PoolOptions:
    """How a pool runs its workers.

    Args:
        component: who owns the pool, for messages.
        start_method: see `StartMethod`.
        timeout_s: longest time for a step, a reset or a call, after which the workers are killed; None: no limit.
        preload: modules that workers will need, imported once with `"forkserver"`.
        restart_on_failure: how many times each worker that fails is started anew; 0: a failure closes the pool.
    Raises:
        ValueError: an unknown start method, a limit that is no positive number, or a negative number of times.
    """

    component: str
    start_method: StartMethod = "forkserver"
    timeout_s: float | None = None
    preload: tuple[str, ...] = ()
    restart_on_failure: int = 0

    def __post_init__(self) -> None:
        if self.start_method not in START_METHODS:
            expected = f"one of {', '.join(START_METHODS)}"
            raise ValueError(message(self.component, "start_method", expected=expected, found=self.start_method))
        limit = self.timeout_s
        if limit is not None and not (isinstance(limit, int | float) and 0 < limit <= _LONGEST_S):
            expected = f"a positive number of seconds, at most {_LONGEST_S:,}, or None for no limit"
            raise ValueError(message(self.component, "timeout_s", expected=expected, found=repr(limit)))
        restarts = self.restart_on_failure
        if not isinstance(restarts, int) or restarts < 0:
            expected = "how many times a worker is started anew, an integer >= 0"
            raise ValueError(message(self.component, "restart_on_failure", expected=expected, found=restarts))


@final
class WorkerPool:
    """Workers that obey one command at a time, all or some of them at once.

    A failure of any worker closes the pool, unless it may be started anew (`restart_on_failure`). So does an
    interrupt while waiting, such as Ctrl-C or what a handler of signals raises: the workers are in the middle of
    something then. The workers end when the pool is closed, collected, or left at exit, and when this process dies.

    Args:
        make_tasks: for each worker a callable that makes its task there.
        options: how to run them.
    Raises:
        OSError: the system refuses so many processes or descriptors.
        WorkerError: a worker could not make its task; the message has its traceback.
    """

    def __init__(self, make_tasks: Sequence[Callable[[], Task]], options: PoolOptions) -> None:
        self._options = options
        self._owner = os.getpid()
        restarts = options.restart_on_failure
        self._processes = Processes(
            options.component,
            make_tasks,
            options.start_method,
            options.preload,
            torch.initial_seed(),
            can_restart=restarts > 0,
        )
        self._recovery: Recovery | None = None
        if restarts:
            self._recovery = Recovery(self._processes, options.component, restarts, options.timeout_s)
        self._finalize = multiprocessing.util.Finalize(self, self._processes.close, exitpriority=10)
        self._workers = range(len(make_tasks))
        self._table: Table | None = None
        self._wake_up = select.poll()
        try:
            self._start()
            self.descriptions: list[Any] = self._unpacked(self._frames(None))
        except BaseException as error:
            self.close(grace_s=_MADE_WAIT_S if isinstance(error, Exception) else 0.0)  # others may have made theirs
            raise

    def _start(self) -> None:
        try:
            self._processes.start()
        except BrokenPipeError:
            raise self._failure() from None
        except OSError as error:
            raise not_started(self._options.component, len(self._workers), error) from error
        for fd in (self._processes.done, *self._processes.statuses):
            self._wake_up.register(fd, select.POLLIN)

    @property
    def is_closed(self) -> bool:
        """Whether the workers have been told to end."""
        return self._processes.is_closed

    def share(self, layout: Layout) -> Table:
        """Take shared memory for `layout` and hand it to the workers, in place of what was shared before.

        Raises:
            MemoryError: there is no room for it; the pool is closed.
            OSError: a worker cannot map it, or this process, under a limit of theirs; the pool is closed.
        """
        self.check_usable()
        whole: dict[str, Mapping[NestedKey, TensorForm]] = {
            **layout,
            "pool": {"finished": TensorForm((len(self._workers),), torch.int64)},
        }
        try:
            reserve(self._processes.segment, table_bytes(whole), self._options.component)
            self._table = table = Table(map_segment(self._processes.segment), whole)
            table["pool"]["finished"].zero_()
            self._rounds = [0 for _ in self._workers]
            self.call(SHARE, [whole] * len(self._workers), is_lasting=True)
        except BaseException:
            self.close()
            raise
        return table

    def run(self, command: bytes, workers: Sequence[int] | None = None) -> Sequence[int]:
        """Have workers step or reset, and wait for the last of them.

        Args:
            command: `STEP`, `RESET` or `RESET_ALL`.
            workers: which; None: all.
        Returns:
            Workers that were started anew, of those and of others, and have reset all of their environments instead;
            hardly ever any.
        Raises:
            WorkerError: a worker raised, ended, or took longer than the limit; the pool is closed.
        """
        self.check_usable()
        chosen = self._workers if workers is None else workers
        processes = self._processes
        with self._closed_where_broken_off():
            if len(chosen) > 1:
                os.write(processes.tokens, TOKEN * (len(chosen) - 1))
            for worker in chosen:
                self._rounds[worker] += 1
                os.write(processes.commands[worker], command)
            return self._wait(chosen)

    def exchange(self, method: str, arguments: Mapping[int, Any]) -> tuple[dict[int, Any], Sequence[int]]:
        """Have workers step or reset by a call, at the same time; a failure is one of `run`.

        Args:
            method: see `Task.call`.
            arguments: by worker.
        Returns:
            The answers by worker, and the workers that were started anew, as `run` has them, which have none.
        Raises:
            WorkerError: see `run`.
        """
        self.check_usable()
        payloads = {worker: cloudpickle.dumps((method, argument)) for worker, argument in arguments.items()}
        deadline = self._deadline()
        with self._closed_where_broken_off():
            if self._recovery is not None:
                found = self._recovery.exchange(payloads)
                return found, self._recovery.take_replaced()
            for worker, payload in payloads.items():
                wait = partial(self._wait_for, worker, deadline)
                write_frame(self._processes.commands[worker], payload, wait, command=CALL)
        answers: dict[int, Any] = {}
        while waiting := payloads.keys() - answers.keys():
            ready = self.ready(sorted(waiting), None if deadline is None else deadline - time.monotonic())
            if not ready:
                raise self._late(sorted(waiting))
            answers.update(ready)
        return answers, ()

    def mend(self) -> Sequence[int]:
        """Start anew the workers that have ended while they had nothing to do, where that is asked for.

        Returns:
            Which those are, with those that a call had to start anew; they have reset all of their environments.
        Raises:
            WorkerError: one has failed too often; the pool is closed.
        """
        self.check_usable()
        with self._closed_where_broken_off():
            return () if self._recovery is None else self._recover((), ())

    def call(self, method: str, arguments: Sequence[Any], *, is_lasting: bool = False) -> list[Any]:
        """Call a method of every task, with an argument for each; the answers in order.

        Args:
            method: see `Task.call`.
            arguments: one for each worker.
            is_lasting: whether a worker that is started anew is to begin with this call.
        Raises:
            Exception: what a task raised, with a note that tells where.
            WorkerError: a worker raised what cannot be pickled, ended, or took longer than the limit.
        """
        self.check_usable()
        payloads = self._payloads(method, arguments)
        with self._closed_where_broken_off():
            if self._recovery is None:
                self._send(payloads)
                frames = self._frames(self._deadline())
            else:
                frames = self._recovery.call(payloads)
        answers = self._unpacked(frames)
        if is_lasting and self._recovery is not None:
            self._recovery.remember(method, payloads)
        return answers

    def post(self, method: str, arguments: Sequence[Any]) -> None:
        """Ask for a call without waiting for its end; workers take what is asked of them in order.

        Args:
            method: as for `call`.
            arguments: small and few ones while others are on their way: together they wait in a pipe, whose end reads
                no more while the answers that wait in another fill that.
        """
        self.check_usable()
        payloads = self._payloads(method, arguments)
        with self._closed_where_broken_off():
            self._send(payloads)

    def answers(self) -> list[Any]:
        """Wait for the answers to the oldest `post` that has not been answered; raises as `call` does."""
        self.check_usable()
        with self._closed_where_broken_off():
            frames = self._frames(self._deadline())
        return self._unpacked(frames)

    def request(self, worker: int, payload: bytes) -> None:
        """Ask one worker for a call, without waiting for its end; it takes what it is asked for in order.

        Args:
            worker: which.
            payload: pickle of the method and its argument; small, for the reason given at `post`.
        """
        self.check_usable()
        with self._closed_where_broken_off():
            if self._recovery is not None:
                self._recovery.request(worker, payload)
                return
            wait = partial(self._wait_for, worker, self._deadline())
            write_frame(self._processes.commands[worker], payload, wait, command=CALL)

    def gather(self, workers: Sequence[int], wait_s: float | None) -> tuple[list[tuple[int, Any]], Sequence[int]]:
        """`ready` where workers that fail may be started anew.

        Args:
            workers: those that owe an answer.
            wait_s: how long to wait; None: without limit.
        Returns:
            Workers and answers; and those that were started anew, which owe nothing any more and have reset all.
        Raises:
            WorkerError: a worker failed, or failed too often; the pool is closed.
        """
        if self._recovery is None:
            return self.ready(workers, wait_s), ()
        self.check_usable()
        with self._closed_where_broken_off():
            answers = self._recovery.gather(workers, wait_s)
            return answers, self._recovery.take_replaced()

    def ready(self, workers: Sequence[int], wait_s: float | None) -> list[tuple[int, Any]]:
        """Wait until a worker has an answer to what it was asked for with `request`.

        Args:
            workers: those that owe one.
            wait_s: how long to wait; None: without limit.
        Returns:
            Workers and answers: one of each worker that has any; none when time is up.
        Raises:
            WorkerError: a worker raised or ended; the pool is closed.
        """
        self.check_usable()
        owners = {self._processes.replies[worker]: worker for worker in workers}
        with self._closed_where_broken_off():
            poll = select.poll()
            for fd in (*owners, *self._processes.statuses):
                poll.register(fd, select.POLLIN)
            events = [fd for fd, _ in poll.poll(None if wait_s is None else max(wait_s, 0.0) * 1000)]
            if events and not any(fd in owners for fd in events):
                raise self._failure()
            answers = [(owners[fd], self._answer_of(owners[fd])) for fd in events if fd in owners]
        return sorted(answers, key=lambda answer: answer[0])

    def _answer_of(self, worker: int) -> Any:
        """The next answer of a worker."""
        try:
            frame = read_frame(self._processes.replies[worker], partial(self._wait_for, worker, self._deadline()))
        except EOFError:
            raise self._failure() from None
        answer = pickle.loads(frame)
        if isinstance(answer, Failure):
            raise broken(self._options.component, worker, answer)
        return answer

    def give_up_on(self, workers: list[int]) -> Sequence[int]:
        """End workers that are late.

        Returns:
            Those that were started anew, as `gather` has them.
        Raises:
            WorkerTimeoutError: none is to be, or one has failed too often; the pool is closed.
        """
        late = sorted(set(workers))
        if self._recovery is None:
            raise self._late(late)
        with self._closed_where_broken_off():
            self._recovery.replace_late(late)
            return self._recovery.take_replaced()

    def close(self, *, grace_s: float = 5.0) -> None:
        """End the workers: they are told to, and killed after `grace_s`. Calling it again does nothing."""
        self._table = None
        self._processes.close(grace_s)
        self._finalize.cancel()  # not before: where this is interrupted, that is how the workers end

    def _wait(self, workers: Sequence[int]) -> Sequence[int]:
        limit = self._options.timeout_s
        done = self._processes.done
        events = self._wake_up.poll(None if limit is None else limit * 1000)
        if not events and not (late := self._not_finished(workers)):  # all have at the last moment, and are to say so
            events = self._wake_up.poll(_FAILURE_WAIT_S * 1000)
            late = list(workers)
        if not events:
            if self._recovery is None:
                raise self._late(late)
            return self._recover(workers, late)
        word = os.read(done, 1) if any(fd == done for fd, _ in events) else b""
        if word == DONE and len(events) == 1:
            return ()
        if self._recovery is None:
            raise self._failure(is_reported=word == FAILED)
        return self._recover(workers, ())

    def _not_finished(self, workers: Sequence[int]) -> list[int]:
        assert self._table is not None
        finished = self._table["pool"]["finished"].tolist()
        return [worker for worker in workers if finished[worker] < self._rounds[worker]]

    def _recover(self, told: Sequence[int], late: Sequence[int]) -> Sequence[int]:
        assert self._recovery is not None
        self._recovery.recover(told, late)
        replaced = self._recovery.take_replaced()
        if self._table is not None:
            finished = self._table["pool"]["finished"]
            for worker in replaced:
                finished[worker] = self._rounds[worker]
        return replaced

    @contextlib.contextmanager
    def _closed_where_broken_off(self) -> Iterator[None]:
        """Close the pool where what runs between it and its workers stops half-way."""
        try:
            yield
        except BrokenPipeError:
            raise self._failure() from None
        except BaseException:
            self.close(grace_s=0.0)
            raise

    def _payloads(self, method: str, arguments: Sequence[Any]) -> list[bytes]:
        return [cloudpickle.dumps((method, argument)) for _, argument in zip(self._workers, arguments, strict=True)]

    def _send(self, payloads: Sequence[bytes]) -> None:
        deadline = self._deadline()
        for worker, payload in enumerate(payloads):
            wait = partial(self._wait_for, worker, deadline)
            write_frame(self._processes.commands[worker], payload, wait, command=CALL)

    def _frames(self, deadline: float | None) -> list[bytes]:
        """One answer from each worker, as it came."""
        frames = []
        for worker in self._workers:
            try:
                frames.append(read_frame(self._processes.replies[worker], partial(self._wait_for, worker, deadline)))
            except EOFError:
                raise self._failure() from None
        return frames

    def _unpacked(self, frames: Sequence[bytes]) -> list[Any]:
        """The answers; an exception among them is raised."""
        answers = [pickle.loads(frame) for frame in frames]
        for worker, answer in enumerate(answers):
            if isinstance(answer, Failure):
                raise raised(self._options.component, worker, answer)
        return answers

    def _deadline(self) -> float | None:
        limit = self._options.timeout_s
        return None if limit is None else time.monotonic() + limit

    def _wait_for(self, worker: int, deadline: float | None, fd: int, event: int) -> None:
        """Wait until the pipe `fd` of a worker is ready for `event`; raises when a worker ends first, or time is up."""
        poll = select.poll()
        poll.register(fd, event)
        for status in self._processes.statuses:
            poll.register(status, select.POLLIN)
        events = poll.poll(None if deadline is None else max(deadline - time.monotonic(), 0.0) * 1000)
        if not events:
            raise self._late([worker])
        if all(ready != fd for ready, _ in events):
            raise self._failure()

    def _failure(self, *, is_reported: bool = False) -> WorkerError:
        """Close the pool and say which worker raised or died."""
        now = time.monotonic()
        report = self._processes.reported_failure(now + _FAILURE_WAIT_S if is_reported else now)
        exits = self._processes.exits(now + _FAILURE_WAIT_S) if report is None else {}
        self.close(grace_s=0.0)
        component = self._options.component
        if report is not None:
            return broken(component, *report)
        return died(component, exits, supervisor_status=self._processes.supervisor_status)

    def _late(self, workers: list[int]) -> WorkerTimeoutError:
        self.close(grace_s=0.0)
        assert self._options.timeout_s is not None
        return timed_out(self._options.component, workers, self._options.timeout_s)

    def check_usable(self) -> None:
        """Refuse work where there can be none.

        Raises:
            ClosedEnvError: the pool is closed, by hand or by a failure.
            RuntimeError: this is a fork of the process that made it.
        """
        if self._processes.is_closed:
            fix = "Make a new one; a failure of a worker closes it too"
            raise ClosedEnvError(message(self._options.component, "its workers have been closed", fix=fix))
        if os.getpid() != self._owner:
            problem = "used in another process than the one that made it"
            raise RuntimeError(message(self._options.component, problem, fix="Make one in each process that steps one"))
