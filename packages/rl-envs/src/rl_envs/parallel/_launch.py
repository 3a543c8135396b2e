"""Starting a supervisor and its workers, by a fork of this process or in a fresh interpreter.

They get a process group of their own, so that Ctrl-C in the terminal is for the parent alone. They stay in its session:
a system that shares the processor out between sessions would make each step wait twice for its turn.
"""

import os
import signal
import subprocess
import sys
import traceback
from typing import Literal, NoReturn, Protocol, TypeAlias, final

from rl_envs.parallel._supervisor import ENDING_SIGNALS, Orders, flush_output, supervise
from rl_envs.parallel._wiring import GroupEnds

StartMethod: TypeAlias = Literal["forkserver", "spawn", "fork"]
"""How workers come to be.

`"forkserver"`: one fresh interpreter imports this package, then forks the workers. It has no threads and no locks of
the calling program, does not run that program's main module again, and imports once however many workers there are.
`"spawn"`: a fresh interpreter for each worker. `"fork"`: a copy of this process; starts in milliseconds and needs
nothing that can be pickled, but is only sound while no other thread runs here and CUDA has not been used.
"""
START_METHODS: tuple[StartMethod, ...] = ("forkserver", "spawn", "fork")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class Supervisor(Protocol):
    """A supervisor that has been started."""

    def wake(self) -> None:
        """Have it go on where it was stopped."""

    def wait(self) -> int:
        """Wait for its end, once it is known to have ended or to have been killed; its wait status."""

    def kill(self) -> None:
        """Kill it."""


@final
class ForkedSupervisor:
    """A copy of this process.

    Args:
        orders: what it is to do.
        ends: its descriptors and those of its workers.
        parent_ends: descriptors that only the parent holds.
    """

    def __init__(self, orders: Orders, ends: GroupEnds, parent_ends: list[int]) -> None:
        flush_output()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
        try:
            self._pid = os.fork()
            if self._pid == 0:
                _become_supervisor(orders, ends, parent_ends)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def wake(self) -> None:
        """See `Supervisor`."""
        os.kill(self._pid, signal.SIGCONT)

    def wait(self) -> int:
        """See `Supervisor`."""
        return os.waitpid(self._pid, 0)[1]

    def kill(self) -> None:
        """See `Supervisor`."""
        os.kill(self._pid, 9)


@final
class FreshSupervisor:
    """A new interpreter with this one's import path, which takes its orders from its control pipe.

    Args:
        ends: its descriptors and those of its workers.
    """

    def __init__(self, ends: GroupEnds) -> None:
        path = [entry for entry in sys.path if isinstance(entry, str)]  # imports pass over others
        code = f"import sys; sys.path[:] = {path!r}; from rl_envs.parallel._supervisor import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, str(ends.control)],
            pass_fds=ends.all(),
            process_group=0,
            env={**os.environ, **_ONE_THREAD},
        )

    def wake(self) -> None:
        """See `Supervisor`."""
        self._process.send_signal(signal.SIGCONT)

    def wait(self) -> int:
        """See `Supervisor`."""
        code = self._process.wait()
        return code << 8 if code >= 0 else -code

    def kill(self) -> None:
        """See `Supervisor`."""
        self._process.kill()


def _become_supervisor(orders: Orders, ends: GroupEnds, parent_ends: list[int]) -> NoReturn:
    try:
        os.setpgid(0, 0)
        for fd in parent_ends:
            os.close(fd)
        supervise(orders, ends)
    except BaseException:  # nothing above this frame may run: it is the caller's program
        traceback.print_exc()
    finally:
        os._exit(1)
