"""Requests that wait here until their worker can read them."""

from collections import deque
from itertools import islice
from typing import final

from rl_envs.parallel._pool import WorkerPool

_ROOM = 4096
"""Bytes that a pipe holds at least, however little memory the system leaves it."""


@final
class HeldRequests:
    """Sends requests of any size to workers, in order.

    A worker whose answer fills its pipe reads no requests until the answer is taken, and who waits for it to read takes
    none. So what does not fit in a pipe is sent when the worker has nothing else to do.

    Args:
        pool: the workers.
        count: how many.
    """

    def __init__(self, pool: WorkerPool, count: int) -> None:
        self._pool = pool
        self._unanswered: list[deque[bytes]] = [deque() for _ in range(count)]
        self._sent = [0] * count

    def send(self, worker: int, payload: bytes) -> None:
        """Send a request, now or later; see `WorkerPool.request`."""
        self._unanswered[worker].append(payload)
        self._send_what_fits(worker)

    def note_answer(self, worker: int) -> None:
        """Take note of an answer, which is that to the oldest request, and send what has waited for it."""
        self._unanswered[worker].popleft()
        self._sent[worker] -= 1
        self._send_what_fits(worker)

    def forget(self, worker: int) -> None:
        """A worker has been started anew, and knows of no request."""
        self._unanswered[worker].clear()
        self._sent[worker] = 0

    def _send_what_fits(self, worker: int) -> None:
        waiting = self._unanswered[worker]
        while (sent := self._sent[worker]) < len(waiting):
            if sent and sum(map(len, islice(waiting, sent + 1))) > _ROOM:
                return
            self._pool.request(worker, waiting[sent])
            self._sent[worker] += 1
