"""Environments of an asynchronous pool in threads of this process."""

import atexit
import time
import traceback
import weakref
from collections.abc import Callable, Iterable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NoReturn, TypeAlias, final

import torch

from rl_envs._env_base import EnvBase
from rl_envs._env_specs import EnvSpecs
from rl_envs._errors import ClosedEnvError, WorkerError, WorkerTimeoutError
from rl_envs._many_envs import make_envs
from rl_envs.parallel._async_backend import AsyncBackend
from rl_envs.parallel._env_row import Answer, EnvRow, Request, call_env
from rl_envs.parallel._env_task import Description, describe
from rl_specs import FlatDict, message

_Requests: TypeAlias = "SimpleQueue[tuple[Request, FlatDict | None] | None]"
_Answers: TypeAlias = "SimpleQueue[tuple[int, Answer | BaseException]]"
_CLOSE_WAIT_S = 5.0
_EXIT_WAIT_S = 2.0


@final
class ThreadBackend(AsyncBackend):
    """One thread for each environment, which is made here and closed there.

    A thread that hangs cannot be ended: it is left behind, and does not keep the program from its end for longer than
    two seconds. A program that ends waits so long for those that compute: a thread that native code of torch returns to
    while the interpreter is taken down would end the program with an abort.

    Args:
        component: who owns the environments, for messages.
        makers: make them.
        timeout_s: named in the error for those that are late.
    """

    def __init__(self, component: str, makers: Sequence[Callable[[], Any]], timeout_s: float | None) -> None:
        self._component = component
        self._timeout_s = timeout_s
        self._envs = make_envs(component, makers)
        self._rows = [EnvRow(env) for env in self._envs]
        self._device = self._envs[0].device
        self._is_closed = False
        self._answers: _Answers = SimpleQueue()
        self._requests: list[_Requests] = [SimpleQueue() for _ in self._envs]
        self._threads = [
            _EnvThread(f"{component}-{index}", requests, (index, env, row, requests, self._answers))
            for index, (env, row, requests) in enumerate(zip(self._envs, self._rows, self._requests, strict=True))
        ]
        self._finalize = weakref.finalize(self, _end, self._requests)
        _RUNNING.register(self._threads)
        for thread in self._threads:
            thread.start()

    def descriptions(self) -> list[Description]:
        """See `AsyncBackend`."""
        return [describe(self._envs)]

    def connect(self, specs: EnvSpecs, *, has_member_masks: bool) -> None:
        """See `AsyncBackend`."""

    def send(self, index: int, request: Request, root: FlatDict | None) -> None:
        """See `AsyncBackend`."""
        self._check_usable()
        if root is not None:
            root = {key: value.detach() for key, value in root.items()}
            if self._device is not None:
                root = {key: value.to(self._device) for key, value in root.items()}
        self._requests[index].put((request, root))

    def receive(self, wait_s: float | None) -> list[tuple[int, Answer]]:
        """See `AsyncBackend`."""
        self._check_usable()
        found: list[tuple[int, Answer]] = []
        try:
            while True:
                index, answer = self._answers.get(timeout=0.0 if found else wait_s)
                if isinstance(answer, BaseException):
                    raise self._broken(index, answer)
                found.append((index, answer))
        except Empty:
            return found

    def call(self, method: str, arguments: Sequence[Any], *, is_lasting: bool = False) -> list[Any]:
        """See `AsyncBackend`."""
        self._check_usable()
        return [call_env(env, method, argument) for env, argument in zip(self._envs, arguments, strict=True)]

    def to(self, device: torch.device) -> None:
        """See `AsyncBackend`; the environments themselves move."""
        self._check_usable()
        for env, row in zip(self._envs, self._rows, strict=True):
            env.to(device)
            row.connect()
        self._device = device

    def give_up_on(self, late: Sequence[int]) -> NoReturn:
        """See `AsyncBackend`."""
        self._close(grace_s=0.0)
        names = f"environment{'s' if len(late) > 1 else ''} {', '.join(map(str, late))}"
        problem = f"{names} did not finish within {self._timeout_s:g} s, and all environments were closed"
        fix = 'What hangs goes on in its thread; backend="multiprocessing" can end it'
        raise WorkerTimeoutError(message(self._component, problem, fix=fix))

    def close(self) -> None:
        """See `AsyncBackend`."""
        self._close(_CLOSE_WAIT_S)

    def _close(self, grace_s: float) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._finalize()
        deadline = time.monotonic() + grace_s
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))

    def _broken(self, index: int, found: BaseException) -> WorkerError:
        self._close(grace_s=1.0)
        text = "".join(traceback.format_exception(found))
        error = WorkerError(f"{self._component}: environment {index} raised, and all environments were closed.\n{text}")
        error.__cause__ = found
        return error

    def _check_usable(self) -> None:
        if self._is_closed:
            fix = "Make a new one; a failure of an environment closes it too"
            raise ClosedEnvError(message(self._component, "its environments have been closed", fix=fix))


@final
class _EnvThread(Thread):
    """The thread of one environment.

    Args:
        name: its name.
        requests: where it takes what it is asked for; None ends it.
        arguments: of `_serve`.
    """

    def __init__(self, name: str, requests: _Requests, arguments: tuple[Any, ...]) -> None:
        super().__init__(target=_serve, args=arguments, daemon=True, name=name)
        self.requests = requests


@final
class _Running:
    """The threads of all pools, which the end of the program waits for, if not for long."""

    def __init__(self) -> None:
        self._threads: weakref.WeakSet[_EnvThread] = weakref.WeakSet()
        self._is_registered = False

    def register(self, threads: Iterable[_EnvThread]) -> None:
        """Wait for these too."""
        self._threads.update(threads)
        if not self._is_registered:
            self._is_registered = True
            atexit.register(self._wait)

    def _wait(self) -> None:
        threads = [thread for thread in self._threads if thread.is_alive()]
        _end([thread.requests for thread in threads])
        deadline = time.monotonic() + _EXIT_WAIT_S
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.0))


_RUNNING = _Running()


def _serve(index: int, env: EnvBase, row: EnvRow, requests: _Requests, answers: _Answers) -> None:
    """Answer requests to the end; holds nothing of the pool, so that the pool can be collected."""
    with torch.no_grad():
        while (request := requests.get()) is not None:
            answer: Answer | BaseException
            try:
                answer = row.answer(*request)
            except BaseException as error:  # sys.exit() too is told with its traceback
                answer = error
            answers.put((index, answer))
            del request, answer
        try:
            env.close()
        except Exception:
            traceback.print_exc()


def _end(requests: Sequence[_Requests]) -> None:
    for each in requests:
        each.put(None)
