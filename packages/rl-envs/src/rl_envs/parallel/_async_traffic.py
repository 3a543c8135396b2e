"""What the environments of an asynchronous pool have been asked for, and have answered."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import final

from rl_envs.parallel._async_backend import AsyncBackend
from rl_envs.parallel._env_row import Answer, Request
from rl_specs import FlatDict, message


@dataclass(frozen=True)
class Sent:
    """What one environment was sent, `[*B]`.

    Args:
        root: root entries; None: none.
        ahead: entries that were under `"next"` already, by their keys without it.
    """

    root: FlatDict | None
    ahead: FlatDict


@dataclass(frozen=True)
class Received:
    """One exchange: the environment, what it was sent, and what it answered."""

    index: int
    sent: Sent
    answer: Answer


@final
class Traffic:
    """Sends requests to environments and gathers their answers.

    Args:
        backend: what runs them.
        timeout_s: longest time from sending to the answer; None: no limit.
    """

    def __init__(self, backend: AsyncBackend, timeout_s: float | None) -> None:
        self._backend = backend
        self._timeout_s = timeout_s
        self._restarts = backend.restarts
        self._under_way: dict[int, tuple[Request, Sent, float]] = {}
        self._answered: dict[Request, dict[int, Received]] = {"step": {}, "reset": {}, "step_and_maybe_reset": {}}

    def check_free(self, where: str, indices: Collection[int]) -> None:
        """Refuse work for environments that have been sent something of which the result was not received.

        Raises:
            RuntimeError: there are such.
        """
        waiting = set(self._under_way).union(*self._answered.values())
        busy = sorted(waiting.intersection(indices))
        if busy:
            problem = f"environments {busy} have been sent something whose result was not received"
            fix = "Receive it first, with the method that belongs to the one that sent"
            raise RuntimeError(message(where, problem, fix=fix))

    def send(self, where: str, request: Request, parcels: Mapping[int, Sent]) -> None:
        """Ask environments for something.

        Raises:
            RuntimeError: a result of one of them has not been received.
        """
        self.check_free(where, parcels)
        now = time.monotonic()
        for index, sent in parcels.items():
            self._backend.send(index, request, sent.root)
            self._under_way[index] = (request, sent, now)

    def receive(self, where: str, request: Request, at_least: int) -> list[Received]:
        """Results of one kind, as soon as there are enough of them, and what else of it is there by then.

        Args:
            where: who asks, for messages.
            request: the kind.
            at_least: how many to wait for.
        Returns:
            By environment.
        Raises:
            RuntimeError: fewer have been sent.
            WorkerError: an environment failed, or did not answer in time.
        """
        answered = self._answered[request]
        self._check_enough(where, request, at_least)
        self._collect(0.0)
        while len(answered) < at_least:
            self._collect(self._time_left())
        return [answered.pop(index) for index in sorted(answered)]

    def receive_from(self, where: str, request: Request, indices: Collection[int]) -> list[Received]:
        """Results of these environments, in their order; see `receive`.

        Raises:
            ValueError: one is named twice.
        """
        if len(set(indices)) != len(indices):
            fix = "Name each environment once"
            raise ValueError(message(where, "env_index names an environment twice", found=list(indices), fix=fix))
        answered = self._answered[request]
        sent = {index for index, (kind, _, _) in self._under_way.items() if kind == request} | set(answered)
        idle = sorted(set(indices) - sent)
        if idle:
            problem = f"environments {idle} have not been sent what this receives"
            raise RuntimeError(message(where, problem, fix="Send to them first"))
        self._collect(0.0)
        while not answered.keys() >= set(indices):
            self._collect(self._time_left())
        return [answered.pop(index) for index in indices]

    def _check_enough(self, where: str, request: Request, at_least: int) -> None:
        count = sum(kind == request for kind, _, _ in self._under_way.values()) + len(self._answered[request])
        if count < at_least:
            problem, fix = (
                "min_get is more than what has been sent",
                "Send to more environments, or pass a lower min_get",
            )
            raise RuntimeError(message(where, problem, expected=f"at most {count}", found=at_least, fix=fix))

    def _collect(self, wait_s: float | None) -> None:
        if not self._under_way:
            return
        while self._under_way and (answers := self._backend.receive(wait_s)):
            for index, answer in answers:
                request, sent, _ = self._under_way.pop(index)
                self._answered[request][index] = Received(index, sent, answer)
            wait_s = 0.0  # what else has come, before anyone is called late
        self._follow_restarts()
        if self._timeout_s is not None:
            latest = time.monotonic() - self._timeout_s
            late = [index for index, (_, _, since) in self._under_way.items() if since <= latest]
            if late:
                self._backend.give_up_on(late)
                self._follow_restarts()

    def _follow_restarts(self) -> None:
        """What is asked for anew has as much time as at first, and others are not to blame for the wait."""
        if self._restarts != self._backend.restarts:
            self._restarts = self._backend.restarts
            now = time.monotonic()
            self._under_way = {index: (request, sent, now) for index, (request, sent, _) in self._under_way.items()}

    def _time_left(self) -> float | None:
        """Until the limit of the environment that was asked first."""
        if self._timeout_s is None:
            return None
        first = min(since for _, _, since in self._under_way.values())
        return max(first + self._timeout_s - time.monotonic(), 0.0)
