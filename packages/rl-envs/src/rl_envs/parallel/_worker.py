"""A worker process: makes its part of the work, then obeys commands until it is told to quit or its parent is gone."""

import os
import pickle
import random
import traceback
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import cloudpickle  # type: ignore[import-untyped]  # ships no types
import numpy as np
import torch

from rl_envs._seeding import stream_seed
from rl_envs.parallel._segment import map_segment
from rl_envs.parallel._table import Layout, Table
from rl_envs.parallel._wiring import (
    CALL,
    DONE,
    FAILED,
    QUIT,
    RESET,
    RESET_ALL,
    STEP,
    GroupEnds,
    WorkerEnds,
    read_frame,
    write_frame,
)

SHARE = "_share"
"""The call that hands the layout of the shared table to the workers."""
PING = "_ping"
"""The call that does nothing."""
AFRESH = "_afresh"
"""The call that resets everything."""

_NOTHING = pickle.dumps(None)
_PROCESS = {"is_worker": False}


class Task(ABC):
    """What one worker does. Made in the worker; an exception from its constructor, `step` or `reset` ends the pool."""

    @abstractmethod
    def describe(self) -> Any:
        """What the parent is told when the worker is ready; picklable."""

    @abstractmethod
    def connect(self, table: Table) -> None:
        """Take the shared table, before the first step or reset; once for each `WorkerPool.share`."""

    @abstractmethod
    def step(self) -> None:
        """Read the inputs of its rows in the table, write their outputs."""

    @abstractmethod
    def reset(self, *, is_partial: bool) -> None:
        """Start episodes in its rows: all, or those of the mask in the table."""

    @abstractmethod
    def call(self, method: str, argument: Any) -> Any:
        """Anything else, seldom; both ways picklable. An exception is raised in the parent, and work goes on."""

    @abstractmethod
    def close(self) -> None:
        """Release what the task holds."""


@dataclass(frozen=True)
class Failure:
    """An exception on its way to the parent: its pickle where it has one, and its traceback as text."""

    error: bytes | None
    text: str


class Worker:
    """The loop of one worker.

    Args:
        index: position among all workers.
        ends: pipes of its own.
        group: pipes and memory shared with others.
    """

    def __init__(self, index: int, ends: WorkerEnds, group: GroupEnds) -> None:
        self._index = index
        self._ends = ends
        self._group = group
        self._finished: Any = None

    def run(self, make_task: bytes | Any, torch_seed: int) -> int:
        """Obey commands to the end; returns the exit code.

        Args:
            make_task: a callable that makes the `Task`, or its pickle.
            torch_seed: seed of the parent's global generator, from which those of this process are derived.
        """
        try:
            _prepare_process(torch_seed, self._index)
            make = pickle.loads(make_task) if isinstance(make_task, bytes) else make_task
            task = make()
            self._reply(task.describe())
        except BaseException as error:  # sys.exit() in the making of an environment is its failure, not an order to end
            self._reply(_failure(error))
            os.read(self._ends.command, 1)  # to be told to quit
            return 1
        try:
            while True:
                command = os.read(self._ends.command, 1)
                if not command or command == QUIT:
                    return 0
                if command == CALL:
                    self._call(task)
                elif not self._work(task, command):
                    return 1
        finally:
            task.close()

    def _work(self, task: Task, command: bytes) -> bool:
        try:
            if command == STEP:
                task.step()
            else:
                assert command in (RESET, RESET_ALL), command
                task.reset(is_partial=command == RESET)
        except BaseException as error:  # sys.exit() too is told with its traceback
            report = cloudpickle.dumps(_failure(error))
            os.write(self._group.done, FAILED)
            write_frame(self._ends.reply, report)
            return False
        self._finished[self._index] += 1
        try:
            os.read(self._group.tokens, 1)
        except BlockingIOError:
            os.write(self._group.done, DONE)
        return True

    def _call(self, task: Task) -> None:
        payload = read_frame(self._ends.command)
        try:
            method, argument = pickle.loads(payload)
            found = self._answer(task, method, argument)
            answer = _NOTHING if found is None else cloudpickle.dumps(found)
        except BaseException as error:  # likewise, and so is what cannot be pickled, either way
            answer = cloudpickle.dumps(_failure(error))
        write_frame(self._ends.reply, answer)

    def _answer(self, task: Task, method: str, argument: Any) -> Any:
        if method == SHARE:
            return self._share(task, argument)
        if method == PING:
            return None
        if method == AFRESH:
            return task.reset(is_partial=False)
        return task.call(method, argument)

    def _share(self, task: Task, layout: Layout) -> None:
        table = Table(map_segment(self._group.segment), layout)
        self._finished = table["pool"]["finished"].numpy()
        task.connect(table)

    def _reply(self, answer: Any) -> None:
        write_frame(self._ends.reply, cloudpickle.dumps(answer))


def is_worker_process() -> bool:
    """Whether this process is the worker of a pool."""
    return _PROCESS["is_worker"]


def _prepare_process(torch_seed: int, index: int) -> None:
    """One thread, and global random generators that differ between workers and follow the parent's seed."""
    _PROCESS["is_worker"] = True
    torch.set_num_threads(1)
    seed = stream_seed(torch_seed, index + 1)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def _failure(error: BaseException) -> Failure:
    text = "".join(traceback.format_exception(error))
    try:
        return Failure(bytes(cloudpickle.dumps(error)), text)
    except Exception:  # whatever an object raises that does not want to be pickled
        return Failure(None, text)
