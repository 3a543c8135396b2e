"""The processes of a pool and all the descriptors that the parent holds, from their start to their end."""

import contextlib
import os
import pickle
import select
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, final

import cloudpickle  # type: ignore[import-untyped]  # ships no types

from rl_envs.parallel._interrupts import DeferredInterrupts
from rl_envs.parallel._launch import ForkedSupervisor, FreshSupervisor, StartMethod, Supervisor
from rl_envs.parallel._segment import create_segment
from rl_envs.parallel._supervisor import Orders
from rl_envs.parallel._wiring import (
    ALL,
    END,
    EXIT_RECORD,
    KILL,
    ORDER,
    QUIT,
    START,
    GroupEnds,
    WorkerEnds,
    close_all,
    discard,
    read_frame,
    write_frame,
)
from rl_envs.parallel._worker import Failure, Task
from rl_specs import message

_KILL_WAIT_S = 5.0


@final
class Processes:
    """Supervisors and workers, from `start` on.

    Args:
        component: who owns them, for messages.
        make_tasks: see `WorkerPool`.
        start_method: see `StartMethod`.
        preload: see `PoolOptions`.
        torch_seed: see `Orders`.
        can_restart: see `Orders`.
    Raises:
        TypeError: a callable cannot be pickled, where the start method needs it.
    """

    def __init__(
        self,
        component: str,
        make_tasks: Sequence[Callable[[], Task]],
        start_method: StartMethod,
        preload: tuple[str, ...],
        torch_seed: int,
        *,
        can_restart: bool = False,
    ) -> None:
        self._start_method = start_method
        self._orders: list[Orders] = []
        tasks: list[Any] = list(make_tasks)
        if start_method != "fork":
            tasks = [_pickled(component, make) for make in make_tasks]
        size = 1 if start_method == "spawn" else len(tasks)
        for first in range(0, len(tasks), size):
            group = tasks[first : first + size]
            self._orders.append(Orders(first, group, os.getpid(), torch_seed, preload, can_restart))
        self.commands: list[int] = []
        self.replies: list[int] = []
        self.statuses: list[int] = []
        self._controls: list[int] = []
        self._control_of: list[int] = []
        self._common: list[int] = []
        self._supervisors: list[Supervisor] = []
        self.is_closed = False
        self.supervisor_status = 0
        """Wait status of a supervisor that did not end as it should; 0: none is known."""
        self._owner = os.getpid()

    def start(self) -> None:
        """Start them; what goes wrong leaves those that have been started to `close`.

        Raises:
            OSError: the system refuses another process or descriptor.
            BrokenPipeError: a supervisor ended at once.
        """
        child_ends: list[int] = []
        started: list[GroupEnds] = []
        with DeferredInterrupts():
            try:
                self.segment = create_segment()
                self._common.append(self.segment)
                tokens, self.tokens = _pipe_to_child(child_ends, self._common)
                os.set_blocking(tokens, False)
                self._tokens_left = os.dup(tokens)
                self._common.append(self._tokens_left)
                self.done, done = _pipe_from_child(child_ends, self._common)
                for orders in self._orders:
                    started.append(self._start(orders, tokens, done))
            finally:
                close_all(child_ends)
        self._send_orders(started)

    def exits(self, deadline: float) -> dict[int, int]:
        """Wait statuses, by worker, of those that have ended; waits for one until `deadline`."""
        found: dict[int, int] = {}
        while not found:
            ready = _readable(self.statuses, deadline)
            for fd in ready:
                records = os.read(fd, EXIT_RECORD.size * 512)
                found.update(EXIT_RECORD.iter_unpack(records))
                if not records:
                    return found
            if not ready:
                break
        return found

    def reported_failure(self, deadline: float) -> tuple[int, Failure] | None:
        """A worker that has reported an exception, and the exception; waits for one until `deadline`."""
        for fd in _readable(self.replies, deadline):
            try:
                answer = pickle.loads(read_frame(fd, partial(_wait_until, deadline)))
            except (EOFError, TimeoutError):  # it ended, or was stopped, while it told what has happened
                continue
            if isinstance(answer, Failure):
                return self.replies.index(fd), answer
        return None

    def start_anew(self, worker: int) -> None:
        """Start a worker in place of one that has ended; it first tells what its task describes.

        Only where they were made with `can_restart`.
        """
        discard(self.replies[worker])  # what its predecessor had begun to say
        _write_if_read(self._control_of[worker], ORDER.pack(START, worker))

    def kill(self, worker: int) -> None:
        """Kill one worker, which ends soon."""
        _write_if_read(self._control_of[worker], ORDER.pack(KILL, worker))

    def forget_rounds(self) -> None:
        """Throw away what says who has finished; no worker may be at work."""
        discard(self.done)
        discard(self._tokens_left)

    def close(self, grace_s: float = 5.0) -> None:
        """Tell the workers to quit, kill them after `grace_s`, and release everything; a second time does nothing.

        An interrupt shortens the wait, and is raised when all is released. In a fork of the process that made them it
        does nothing: the workers are not the copy's.
        """
        if self.is_closed or os.getpid() != self._owner:
            return
        with DeferredInterrupts() as interrupts:
            self.is_closed = True
            try:
                for supervisor in self._supervisors:
                    supervisor.wake()
                for fd in self._controls:
                    _write_if_read(fd, ORDER.pack(END, ALL))
                for fd in self.commands:
                    _write_if_read(fd, QUIT)
                close_all(self.commands)
                with interrupts.lifted():
                    self._await_end(grace_s)
            finally:
                self._end()

    def _await_end(self, grace_s: float) -> bool:
        """Whether all supervisors ended in time; each holds its status pipe to its end."""
        deadline = time.monotonic() + grace_s
        waiting = list(self.statuses)
        while waiting:
            ready = _readable(waiting, deadline)
            if not ready:
                return False
            for fd in ready:
                if not os.read(fd, 1 << 16):
                    waiting.remove(fd)
        return True

    def _end(self) -> None:
        for fd in self._controls:
            _write_if_read(fd, ORDER.pack(KILL, ALL))
        if not self._await_end(_KILL_WAIT_S):
            for supervisor in self._supervisors:
                supervisor.kill()
        for supervisor in self._supervisors:
            self.supervisor_status = supervisor.wait() or self.supervisor_status
        for fds in (self._controls, self.statuses, self.replies, self._common):
            close_all(fds)

    def _start(self, orders: Orders, tokens: int, done: int) -> GroupEnds:
        """Start a supervisor, which starts its workers; its descriptors and theirs, closed here."""
        child_ends: list[int] = []
        try:
            workers = []
            for _ in orders.make_tasks:
                command, _ = _pipe_to_child(child_ends, self.commands)
                _, reply = _pipe_from_child(child_ends, self.replies)
                workers.append(WorkerEnds(command, reply))
            control, parent_control = _pipe_to_child(child_ends, self._controls)
            self._control_of += [parent_control] * len(workers)
            _, status = _pipe_from_child(child_ends, self.statuses)
            ends = GroupEnds(control, status, done, tokens, self.segment, tuple(workers))
            if self._start_method == "fork":
                parent_ends = [*self.commands, *self.replies, *self.statuses, *self._controls, self.tokens, self.done]
                parent_ends.append(self._tokens_left)
                self._supervisors.append(ForkedSupervisor(orders, ends, parent_ends))
            else:
                self._supervisors.append(FreshSupervisor(ends))
        finally:
            close_all(child_ends)
        return ends

    def _send_orders(self, started: Sequence[GroupEnds]) -> None:
        """Tell supervisors that are fresh interpreters what to do; a copy of this process knows."""
        orders, self._orders = self._orders, []
        if self._start_method == "fork":
            return
        for control, each, ends in zip(self._controls, orders, started, strict=True):
            write_frame(control, cloudpickle.dumps((each, ends)))


def _pipe_to_child(child_ends: list[int], parent_ends: list[int]) -> tuple[int, int]:
    """The child's end of a pipe and this process's, which does not block, each in its list at once."""
    read, write = os.pipe()
    child_ends.append(read)
    parent_ends.append(write)
    os.set_blocking(write, False)
    return read, write


def _pipe_from_child(child_ends: list[int], parent_ends: list[int]) -> tuple[int, int]:
    """This process's end of a pipe, which does not block, and the child's, each in its list at once."""
    read, write = os.pipe()
    parent_ends.append(read)
    child_ends.append(write)
    os.set_blocking(read, False)
    return read, write


def _pickled(component: str, make_task: Callable[[], Task]) -> bytes:
    try:
        return bytes(cloudpickle.dumps(make_task))
    except Exception as error:  # whatever an object raises that does not want to be pickled
        problem = f"what the workers are to run cannot be sent to another process ({type(error).__name__}: {error})"
        fix = 'Make what it holds inside the callable, or pass start_method="fork"'
        raise TypeError(message(component, problem, fix=fix)) from error


def _readable(fds: Sequence[int], deadline: float) -> list[int]:
    """Those of `fds` that can be read, or have ended; empty when none can until `deadline`."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(max(deadline - time.monotonic(), 0.0) * 1000)]


def _wait_until(deadline: float, fd: int, event: int) -> None:
    """A `Wait` with a limit; raises `TimeoutError`."""
    poll = select.poll()
    poll.register(fd, event)
    if not poll.poll(max(deadline - time.monotonic(), 0.0) * 1000):
        raise TimeoutError


def _write_if_read(fd: int, data: bytes) -> None:
    """Write, where the pipe has a reader and is not full: one that does not read its orders is killed in the end."""
    with contextlib.suppress(BrokenPipeError, BlockingIOError):
        os.write(fd, data)
