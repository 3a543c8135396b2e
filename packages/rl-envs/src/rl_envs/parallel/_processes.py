"""The processes of a pool and all the descriptors that the parent holds, from their start to their end."""

import contextlib
import os
import pickle
import select
import time
from collections.abc import Callable, Sequence
from typing import Any, final

import cloudpickle  # type: ignore[import-untyped]  # ships no types

from rl_envs.parallel._launch import ForkedSupervisor, FreshSupervisor, StartMethod, Supervisor
from rl_envs.parallel._segment import create_segment
from rl_envs.parallel._supervisor import Orders
from rl_envs.parallel._wiring import EXIT_RECORD, KILL, QUIT, GroupEnds, WorkerEnds, close_all, read_frame
from rl_envs.parallel._worker import Failure, Task
from rl_specs import message

_KILL_WAIT_S = 5.0


@final
class Processes:
    """Supervisors and workers, running.

    Args:
        component: who owns them, for messages.
        make_tasks: see `WorkerPool`.
        start_method: see `StartMethod`.
        preload: see `PoolOptions`.
        torch_seed: see `Orders`.
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
    ) -> None:
        tasks: list[Any] = list(make_tasks)
        if start_method != "fork":
            tasks = [_pickled(component, make) for make in make_tasks]
        self.commands: list[int] = []
        self.replies: list[int] = []
        self.statuses: list[int] = []
        self._controls: list[int] = []
        self._supervisors: list[Supervisor] = []
        self._child_ends: list[int] = []
        self.is_closed = False
        self._owner = os.getpid()
        self.segment = create_segment()
        tokens, self.tokens = self._pipe_to_child()
        os.set_blocking(tokens, False)
        self.done, done = self._pipe_from_child()
        count = len(tasks)
        size = 1 if start_method == "spawn" else count
        try:
            for first in range(0, count, size):
                ends = self._group_ends(size, tokens, done)
                orders = Orders(ends, first, tasks[first : first + size], os.getpid(), torch_seed, preload)
                self._start(orders, start_method)
        except BaseException:
            close_all(self._child_ends)
            self.close(0.0)
            raise
        close_all(self._child_ends)

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
                answer = pickle.loads(read_frame(fd))
            except EOFError:
                continue
            if isinstance(answer, Failure):
                return self.replies.index(fd), answer
        return None

    def close(self, grace_s: float = 5.0) -> None:
        """Tell the workers to quit, kill them after `grace_s`, and release everything; a second time does nothing.

        In a fork of the process that made them it does nothing either: the workers are not the copy's.
        """
        if self.is_closed or os.getpid() != self._owner:
            return
        self.is_closed = True
        try:
            for fd in self.commands:
                _write_if_read(fd, QUIT)
            close_all(self.commands)
            self._await_end(grace_s)
        finally:  # an interrupt must not leave a worker either
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
            _write_if_read(fd, KILL)
        if not self._await_end(_KILL_WAIT_S):
            for supervisor in self._supervisors:
                supervisor.kill()
        for supervisor in self._supervisors:
            supervisor.wait()
        for fds in (self._controls, self.statuses, self.replies, [self.tokens, self.done, self.segment]):
            close_all(fds)

    def _group_ends(self, size: int, tokens: int, done: int) -> GroupEnds:
        workers = []
        for _ in range(size):
            command, parent_command = self._pipe_to_child()
            parent_reply, reply = self._pipe_from_child()
            workers.append(WorkerEnds(command, reply))
            self.commands.append(parent_command)
            self.replies.append(parent_reply)
        control, parent_control = self._pipe_to_child()
        parent_status, status = self._pipe_from_child()
        self._controls.append(parent_control)
        self.statuses.append(parent_status)
        return GroupEnds(control, status, done, tokens, self.segment, tuple(workers))

    def _start(self, orders: Orders, start_method: StartMethod) -> None:
        supervisor: Supervisor
        if start_method == "fork":
            parent_ends = [*self.commands, *self.replies, *self.statuses, *self._controls, self.tokens, self.done]
            supervisor = ForkedSupervisor(orders, parent_ends)
        else:
            supervisor = FreshSupervisor(orders, self._controls[-1])
        self._supervisors.append(supervisor)

    def _pipe_to_child(self) -> tuple[int, int]:
        read, write = os.pipe()
        self._child_ends.append(read)
        return read, write

    def _pipe_from_child(self) -> tuple[int, int]:
        read, write = os.pipe()
        self._child_ends.append(write)
        return read, write


def _pickled(component: str, make_task: Callable[[], Task]) -> bytes:
    try:
        return bytes(cloudpickle.dumps(make_task))
    except Exception as error:
        problem = f"what the workers are to run cannot be sent to another process ({type(error).__name__}: {error})"
        fix = 'Make what it holds inside the callable, or pass start_method="fork"'
        raise TypeError(message(component, problem, fix=fix)) from error


def _readable(fds: Sequence[int], deadline: float) -> list[int]:
    """Those of `fds` that can be read, or have ended; empty when none can until `deadline`."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(max(deadline - time.monotonic(), 0.0) * 1000)]


def _write_if_read(fd: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(fd, data)
