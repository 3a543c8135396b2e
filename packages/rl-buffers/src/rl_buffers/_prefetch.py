"""Batches made ahead of time by a thread, so that nobody can tell but by the clock.

The rows of a batch are chosen in the thread that asks for batches, and in the order in which they are asked for; the
worker reads them and applies `collate_fn` and transforms. Whatever changes the buffer takes the batches back that were
chosen ahead: sampler and generator return to where they were, and the next batch is chosen anew. So a batch holds the
rows that it would hold without prefetching, whatever was written in between.
"""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

Info: TypeAlias = dict[str, Any]
_Result: TypeAlias = tuple[Any, Info] | None


@dataclass(frozen=True, slots=True)
class Steps:
    """How a buffer makes a batch; all but `finish` are called under its lock.

    Args:
        lock: that of the buffer.
        count: rows in the next batch, 0 at the end of a pass.
        draw: chooses so many rows: their numbers and what else is known of them.
        read: copies rows out of the storage.
        finish: makes a batch of what was read.
        mark: where sampler and generator are.
        rewind: returns there.
    """

    lock: Any  # threading.RLock is a function, not a type
    count: Callable[[int, bool], int]
    draw: Callable[[int], tuple[Tensor, Info]]
    read: Callable[[Tensor, Info], Any]
    finish: Callable[[Any, Info], Any]
    mark: Callable[[], Any]
    rewind: Callable[[Any], None]


@dataclass(slots=True)
class _Job:
    index: Tensor
    info: Info
    before: Any
    epoch: int
    future: "Future[_Result] | None" = None


@final
class Lookahead:
    """Batches of one buffer, chosen ahead.

    The first batch after a change is made by the caller; from the second one on, `depth` batches are under way. A loop
    that writes before every batch so loses nothing, and gains nothing.

    Args:
        depth: how many.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._jobs: deque[_Job] = deque()
        self._epoch = 0
        self._is_quiet = False
        self._request: tuple[int, bool, bool, bool] | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    @property
    def depth(self) -> int:
        """How many."""
        return self._depth

    def take(self, batch_size: int, is_pass: bool, steps: Steps) -> _Result:
        """The next batch and what is known of it; None at the end of a pass.

        Args:
            batch_size: rows asked for.
            is_pass: whether the batch belongs to an iteration.
            steps: the buffer.
        """
        while True:
            with steps.lock:
                request = (batch_size, is_pass, torch.is_grad_enabled(), torch.is_inference_mode_enabled())
                if request != self._request or self._process != os.getpid():
                    self._begin(request, steps)
                job = self._jobs.popleft() if self._jobs else None
                if job is None:
                    count = steps.count(batch_size, is_pass)
                    if count == 0:
                        return None
                    index, info = steps.draw(count)
                    rows = steps.read(index, info)
                if self._is_quiet:
                    self._fill(request, steps)
                self._is_quiet = True
            if job is None:
                return steps.finish(rows, info), info
            assert job.future is not None
            try:
                result = job.future.result()
            except CancelledError:  # closed by another thread
                continue
            if result is not None:
                return result

    def drop(self, rewind: Callable[[Any], None]) -> None:
        """Take back what was chosen ahead; called under the lock, before the buffer changes."""
        self._is_quiet = False
        self._epoch += 1
        if self._jobs:
            jobs, self._jobs = self._jobs, deque()
            rewind(jobs[0].before)
            for job in jobs:
                if job.future is not None:
                    job.future.cancel()

    def close(self) -> None:
        """End the thread; called after `drop`, outside the lock. Batches are made by the caller from now on."""
        self._depth = 0
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)

    def _begin(self, request: tuple[int, bool, bool, bool], steps: Steps) -> None:
        """Batches of another kind are asked for, or by a process that was forked and has no thread."""
        if self._process != os.getpid():
            for job in self._jobs:
                job.future = None
            self._executor = None
            self._process = os.getpid()
        self.drop(steps.rewind)
        self._request = request

    def _fill(self, request: tuple[int, bool, bool, bool], steps: Steps) -> None:
        """Choose batches until `depth` are under way. What goes wrong here goes wrong again when its turn comes."""
        batch_size, is_pass, with_grad, is_inference = request
        while len(self._jobs) < self._depth:
            before = steps.mark()
            try:
                count = steps.count(batch_size, is_pass)
                if count == 0:
                    return
                job = _Job(*steps.draw(count), before, self._epoch)
                if self._executor is None:
                    self._executor = ThreadPoolExecutor(1, thread_name_prefix="rl-buffers-prefetch")
                job.future = self._executor.submit(_work, self, job, steps, with_grad, is_inference)
            except Exception:
                steps.rewind(before)
                return
            self._jobs.append(job)

    def is_valid(self, job: _Job) -> bool:
        """Whether nothing changed since the rows of a batch were chosen."""
        return job.epoch == self._epoch


def _work(ahead: Lookahead, job: _Job, steps: Steps, with_grad: bool, is_inference: bool) -> _Result:
    with torch.inference_mode(is_inference), torch.set_grad_enabled(with_grad):
        with steps.lock:
            if not ahead.is_valid(job):
                return None
            rows = steps.read(job.index, job.info)
        return steps.finish(rows, job.info), job.info
