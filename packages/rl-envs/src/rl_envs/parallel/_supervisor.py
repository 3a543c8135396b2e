"""The process between the parent and the workers: forks them, reports how they end, and ends them with the parent.

It waits for three things at once, without polling: a word from the parent, the end of the parent, the end of a worker.
Workers that are stuck in their environment cannot see that their parent is gone; this process can, and kills them. What
a worker has started ends with it: each has a process group of its own, and what has left that becomes a child of this
process, which ends it before itself.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import pickle
import select
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, final

from rl_envs.parallel._orphans import adopt_orphans, end_orphans
from rl_envs.parallel._wiring import (
    ALL,
    END,
    EXIT_RECORD,
    KILL,
    ORDER,
    START,
    GroupEnds,
    close_all,
    discard,
    read_frame,
)
from rl_envs.parallel._worker import Worker

_ORPHAN_GRACE_S = 1.0
_PR_SET_PDEATHSIG = 1
ENDING_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})
"""Signals whose handler a fork takes over from the program until it has its own."""


@dataclass(frozen=True)
class Orders:
    """What a supervisor is to do.

    Args:
        first_worker: index of its first worker among all.
        make_tasks: for each worker a callable that makes its task, or the pickle of one.
        parent: process id of the parent.
        torch_seed: seed from which the workers' global generators are derived.
        preload: modules that the workers will need, imported once before they are forked.
        can_restart: whether it stays, and starts workers anew, until it is told that none will be.
    """

    first_worker: int
    make_tasks: Sequence[Any]
    parent: int
    torch_seed: int
    preload: tuple[str, ...] = ()
    can_restart: bool = False


def main() -> None:
    """Entry of a fresh interpreter: orders come through the pipe whose descriptor is the only argument."""
    try:
        orders = read_frame(int(sys.argv[1]))
    except EOFError:  # the parent is gone
        _exit(1)
    supervise(*pickle.loads(orders))


def supervise(orders: Orders, ends: GroupEnds) -> NoReturn:
    """Run the workers to their end, and exit.

    Args:
        orders: what to do.
        ends: file descriptors of this process and of its workers.
    """
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # in a fork the program's own handler stands there
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
        _leave_input_to_the_parent(ends)
        adopt_orphans()
        for name in orders.preload:
            importlib.import_module(name)
        gc.freeze()  # what a fork inherits is not this process's to collect, nor to close
        _Supervisor(orders, ends).run()
    except BaseException:  # nothing above this frame may run: in a fork it is the caller's program
        traceback.print_exc()
        _exit(1)
    _exit(0)


@final
class _Supervisor:
    def __init__(self, orders: Orders, ends: GroupEnds) -> None:
        self._orders = orders
        self._ends = ends
        self._pid = os.getpid()
        self._signals, wakeup = os.pipe()
        for fd in (self._signals, wakeup):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        self._workers: dict[int, int] = {}
        self._is_ending = not orders.can_restart

    def run(self) -> None:
        for position in range(len(self._ends.workers)):
            self._start(position)
        if not self._orders.can_restart:
            shared = [self._ends.done, self._ends.tokens, self._ends.segment]
            close_all(shared + [fd for ends in self._ends.workers for fd in (ends.command, ends.reply)])
        self._watch()
        end_orphans()

    def _start(self, position: int) -> None:
        pid = os.fork()
        if pid == 0:
            _become_worker(self._orders, self._ends, position, self._pid)
        with contextlib.suppress(ProcessLookupError):  # as the worker does: whoever comes first
            os.setpgid(pid, pid)
        self._workers[pid] = self._orders.first_worker + position

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._signals, select.POLLIN)
        poll.register(self._ends.control, select.POLLIN)
        parent = _process_descriptor(self._orders.parent)
        if parent is not None:
            poll.register(parent, select.POLLIN)
        deadline: float | None = None
        self._reap()
        while self._workers or not self._is_ending:
            timeout = None if deadline is None else max(deadline - time.monotonic(), 0.0) * 1000
            events = {fd for fd, _ in poll.poll(timeout)}
            self._reap()
            order = os.read(self._ends.control, ORDER.size) if self._ends.control in events else None
            if order:
                self._obey(*ORDER.unpack(order))
            elif events & {self._ends.control, parent}:  # the parent is gone: its workers read the end of their pipes
                self._is_ending = True
                deadline = time.monotonic() + _ORPHAN_GRACE_S
                for fd in events & {self._ends.control, parent}:
                    poll.unregister(fd)
            if deadline is not None and time.monotonic() >= deadline:
                self._signal(signal.SIGKILL)

    def _obey(self, order: bytes, worker: int) -> None:
        if order == START:
            position = worker - self._orders.first_worker
            discard(self._ends.workers[position].command)  # what its predecessor has not read
            self._start(position)
        elif order == END:
            self._is_ending = True
            self._signal(signal.SIGCONT)
        elif order == KILL:
            self._is_ending |= worker == ALL
            self._signal(signal.SIGKILL, worker)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._signals, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            index = self._workers.pop(pid, None)
            if index is None:  # something that a worker had started and left behind
                continue
            _signal_group(pid, signal.SIGKILL)
            with contextlib.suppress(BrokenPipeError):
                os.write(self._ends.status, EXIT_RECORD.pack(index, status))

    def _signal(self, number: signal.Signals, worker: int = ALL) -> None:
        """Send a signal to workers and to what they have started."""
        for pid, index in self._workers.items():  # not reaped yet, so the number is still theirs
            if worker in (ALL, index):
                os.kill(pid, number)
                _signal_group(pid, number)


def _signal_group(leader: int, number: signal.Signals) -> None:
    """Send a signal to what is in the process group of a worker, if anything is."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _become_worker(orders: Orders, group: GroupEnds, position: int, supervisor: int) -> NoReturn:
    code = 1
    try:
        os.setpgid(0, 0)  # so that what it starts can be ended with it
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _die_with_supervisor(supervisor)
        ends = group.workers[position]
        kept = {ends.command, ends.reply, group.done, group.tokens, group.segment}
        close_all([fd for fd in group.all() if fd not in kept])
        worker = Worker(orders.first_worker + position, ends, group)
        code = worker.run(orders.make_tasks[position], orders.torch_seed)
    except BrokenPipeError:
        pass  # the parent is gone
    except BaseException:  # the supervisor's frames must not run here either
        traceback.print_exc()
    _exit(code)


def _exit(code: int) -> NoReturn:
    """End without running what a copied process would: exit handlers, finalizers, threads' joins."""
    flush_output()
    os._exit(code)


def flush_output() -> None:
    """Write out what has been printed, where there is something to print to."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # no stream, a full disk, a closed stream
            stream.flush()


def _leave_input_to_the_parent(ends: GroupEnds) -> None:
    """Read nothing from the parent's standard input: from a terminal, reading would stop this process for good."""
    if 0 in ends.all():  # the parent has no standard input, and the number went to a pipe
        return
    null = os.open(os.devnull, os.O_RDONLY)
    if null != 0:
        os.dup2(null, 0)
        os.close(null)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  open to the end


def _die_with_supervisor(supervisor: int) -> None:
    """Ask the system to kill this process when the supervisor is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:  # it has been, before the system was asked
            os.kill(os.getpid(), signal.SIGKILL)


def _process_descriptor(pid: int) -> int | None:
    """A descriptor that is readable once the process has ended; None where the system has none."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # an old kernel; or it has ended already, which the control pipe tells too
        return None
