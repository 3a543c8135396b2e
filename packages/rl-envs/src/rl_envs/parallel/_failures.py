"""What the parent raises when a worker fails."""

import errno
import os
import pickle
import resource
import signal

from rl_envs._errors import WorkerError, WorkerTimeoutError
from rl_envs.parallel._worker import Failure
from rl_specs import message


def raised(component: str, worker: int, failure: Failure) -> Exception:
    """What a worker raised in a call, itself where that is possible, with the traceback in a note."""
    found = _loaded(failure)
    if isinstance(found, Exception):
        found.add_note(f"{component}: raised in worker {worker}.\n{failure.text}")
        return found
    error = WorkerError(f"{component}: worker {worker} raised.\n{failure.text}")
    error.__cause__ = found
    return error


_CLOSED = "and all workers were closed"


def broken(component: str, worker: int, failure: Failure, *, outcome: str = _CLOSED) -> WorkerError:
    """A worker raised in the middle of a step or a reset.

    Args:
        component: who owns the workers.
        worker: its index.
        failure: what it raised.
        outcome: what became of it.
    """
    error = WorkerError(f"{component}: worker {worker} raised, {outcome}.\n{failure.text}")
    error.__cause__ = _loaded(failure)
    return error


def _loaded(failure: Failure) -> BaseException | None:
    """The exception of a failure; None where it cannot be had in this process."""
    if failure.error is None:
        return None
    try:
        found = pickle.loads(failure.error)
    except Exception:  # its module may be known to the worker alone, its constructor may want other arguments
        return None
    return found if isinstance(found, BaseException) else None


def died(component: str, exits: dict[int, int], *, outcome: str = _CLOSED, supervisor_status: int = 0) -> WorkerError:
    """Workers ended unasked.

    Args:
        component: who owns the workers.
        exits: wait status by worker; empty when their supervisor has ended.
        outcome: what became of them.
        supervisor_status: that of their supervisor; 0: not known.
    """
    if not exits:
        how = _end(supervisor_status) if supervisor_status else "ended"
        problem = f"the process that supervises the workers {how}, and all workers with it"
        has_spoken = supervisor_status != 0 and os.WIFEXITED(supervisor_status)
        fix = "Look at what it has written to the standard error" if has_spoken else _MEMORY
        return WorkerError(message(component, problem, fix=fix))
    ends = ", ".join(f"worker {worker} {_end(status)}" for worker, status in sorted(exits.items()))
    is_killed = any(os.WIFSIGNALED(status) and os.WTERMSIG(status) not in _CRASHES for status in exits.values())
    fix = _MEMORY if is_killed else "Look for os._exit, or a crash in native code; without workers a debugger shows it"
    return WorkerError(message(component, f"{ends}, {outcome}", fix=fix))


def timed_out(
    component: str, workers: list[int], timeout_s: float, *, outcome: str = "and all workers were killed"
) -> WorkerTimeoutError:
    """Workers did not answer in time.

    Args:
        component: who owns the workers.
        workers: which.
        timeout_s: the time.
        outcome: what became of them.
    """
    names = f"worker{'s' if len(workers) > 1 else ''} {', '.join(map(str, workers))}"
    fix = "Look for an environment that waits, or pass a longer timeout_s"
    problem = f"{names} did not finish within {timeout_s:g} s, {outcome}"
    return WorkerTimeoutError(message(component, problem, fix=fix))


def not_started(component: str, workers: int, error: OSError) -> OSError:
    """The system has refused what workers need.

    Args:
        component: who wants them.
        workers: how many.
        error: what the system said.
    Returns:
        An error of the same kind, with its number, that says what to do.
    """
    if error.errno in (errno.EMFILE, errno.ENFILE):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        fix = f"Raise the limit of open files, which is {limit} (ulimit -n), or use fewer processes"
    else:
        fix = "Look at the limits of processes and memory (ulimit -u, ulimit -v), or use fewer processes"
    problem = f"the system does not let {workers} workers be started ({error.strerror})"
    return OSError(error.errno, message(component, problem, fix=fix))


_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS}
_SIGNAL_NAMES = {each.value: each.name for each in signal.Signals}
_MEMORY = "Look whether the system ran out of memory (dmesg), or who killed it"


def _end(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"was killed by {_SIGNAL_NAMES.get(number, 'a signal')} (signal {number})"
    return f"ended with exit code {os.waitstatus_to_exitcode(status)}"
