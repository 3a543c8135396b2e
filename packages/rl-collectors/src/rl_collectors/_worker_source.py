"""Collection in a worker process, beside this one."""

import contextlib
from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, final

import torch
from tensordict import TensorDict
from torch import nn

from rl_collectors._collect_task import (
    Answer,
    Ask,
    CollectTask,
    Place,
    batch_section,
    forms_of,
    weights_section,
)
from rl_collectors._overlap import Overlap
from rl_collectors._random_state import random_state, seeded_random_state, set_random_state
from rl_collectors._source import Policy, Request, Setup
from rl_collectors._state import ahead_batches, pack_root
from rl_collectors._weights import SharedWeights
from rl_envs import EnvBase, pack_flat
from rl_envs.parallel import Layout, PoolOptions, Table, WorkerPool
from rl_specs import FlatDict, message

_MOST_ASKED = 32
"""Requests that may be under way: requests and answers wait in pipes, which do not hold much."""


@final
class WorkerSource:
    """The `BatchSource` that lives in a worker: what is asked for is collected at once, in order.

    Weights go to the worker, and batches come back, in shared memory, in as many slots as batches may be ahead. It is
    taken for the layout of the first batch, and taken anew in the seldom case that a later one has another layout.

    Args:
        setup: what collection is made from.
        policy: what acts, on its device; it stays here, and a copy of it acts.
        overlap: how to run the worker.
    Raises:
        TypeError: an environment in place of a callable, or something that cannot be sent to another process.
        ValueError: the policy has parameters without a shape.
    """

    def __init__(self, setup: Setup, policy: Policy | None, overlap: Overlap) -> None:
        name = self._name = setup.component
        if isinstance(setup.create_env_fn, EnvBase):
            problem, expected = "an environment cannot move to the worker of overlap", "a callable that makes one"
            found = type(setup.create_env_fn).__name__
            raise TypeError(message(name, problem, expected=expected, found=found, fix=f"Pass lambda: {found}(...)"))
        self._policy = policy
        self._weights = SharedWeights(policy)
        self._weights.check(name)
        self._batches_ahead = overlap.batches
        self._storing = setup.devices.storing
        self._pool = WorkerPool(
            [partial(CollectTask, setup, policy)], PoolOptions(name, overlap.start_method, overlap.timeout_s)
        )
        place: Place = self._pool.descriptions[0]
        self._home = self._storing or place.device
        self._batch_size = (*place.batch_size, setup.frames_per_batch // max(1, place.batch_size.numel()))
        self._table: Table | None = None
        self._layout: Layout = {}
        self._slots = max(1, overlap.batches)
        self._slot = 0
        self._asked: deque[int] = deque()
        self._ready: deque[FlatDict | Exception] = deque()
        self._batch_forms: dict[Any, Any] = {}
        self._next_random_state: bytes | None = None
        self._last_random_state: bytes | None = None

    @property
    def env(self) -> EnvBase:
        """See `BatchSource`."""
        problem = "with overlap the environment lives in the worker"
        fix = 'Make another one, and load state_dict()["env_state_dict"] into it where it needs the same statistics'
        raise RuntimeError(message(f"{self._name}.env", problem, fix=fix))

    @property
    def pending(self) -> int:
        """See `BatchSource`."""
        return len(self._asked) + len(self._ready)

    def request(self, request: Request) -> None:
        """See `BatchSource`."""
        while len(self._asked) >= _MOST_ASKED:
            self._take_ahead()
        with self._released_on_failure():
            policy = self._policy_to_send()
            table = self._fitting_table()
            self._weights.write(table[weights_section(self._slot)])
            self._pool.post("collect", [Ask(request, self._slot, self._random_state_to_send(), policy)])
        self._asked.append(self._slot)
        self._slot = (self._slot + 1) % self._slots

    def receive(self) -> TensorDict:
        """See `BatchSource`."""
        entries = self._ready.popleft() if self._ready else self._take()
        if isinstance(entries, Exception):
            raise entries
        if self._home is not None:
            entries = {key: value.to(self._home) for key, value in entries.items()}
        batch = pack_flat(entries, torch.Size(self._batch_size), self._storing)
        batch.names = [*[None] * (len(self._batch_size) - 1), "time"]
        return batch

    def set_seed(self, seed: int, static_seed: bool) -> int:
        """See `BatchSource`."""
        return int(self._call("set_seed", (seed, static_seed)))

    def reset(self) -> None:
        """See `BatchSource`."""
        self._call("reset", None)
        self._ready.clear()

    def state_dict(self) -> dict[str, Any]:
        """See `BatchSource`; waits for the batches asked for. What failed is raised when its batch is received."""
        state: dict[str, Any] = self._call("state_dict", None)
        if self._batches_ahead:
            last = self._next_random_state or self._last_random_state
            random = None if last is None else torch.frombuffer(bytearray(last), dtype=torch.uint8)
            batches = [pack_root(batch) for batch in self._ready if not isinstance(batch, Exception)]
            state["ahead"] = {"batches": batches, "random": random}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `BatchSource`.

        Raises:
            ValueError: the state was saved with another number of environments, or has more batches ahead.
        """
        batches = ahead_batches(self._name, state, most=self._batches_ahead)
        self._call("load_state_dict", {key: value for key, value in state.items() if key != "ahead"})
        self._ready = deque(batches)
        self._next_random_state = self._last_random_state = None
        random = state["ahead"]["random"] if "ahead" in state else None
        if self._batches_ahead and random is not None:
            self._next_random_state = random.numpy().tobytes()

    def close(self, close_env: bool) -> None:
        """See `BatchSource`; the environment is closed with the worker."""
        self._ready.clear()
        self._asked.clear()
        self._table = None
        self._pool.close()

    def _call(self, method: str, argument: Any) -> Any:
        self._wait_for_all()
        with self._released_on_failure():
            return self._pool.call(method, [argument])[0]

    def _wait_for_all(self) -> None:
        while self._asked:
            self._take_ahead()

    def _take_ahead(self) -> None:
        """Put by the oldest batch asked for, or why there is none, unless nothing can be collected any more."""
        try:
            self._ready.append(self._take())
        except Exception as error:
            if self._pool.is_closed:
                raise
            self._ready.append(error)

    def _take(self) -> FlatDict:
        """Entries of the oldest batch asked for and not ready, copied out of shared memory."""
        slot = self._asked.popleft()
        with self._released_on_failure():
            answer: Answer = self._pool.answers()[0]
        self._last_random_state = answer.random_state
        if not self._batches_ahead:
            set_random_state(answer.random_state)
        if answer.entries is not None:
            self._batch_forms = forms_of(answer.entries)
            return answer.entries
        assert self._table is not None
        return {key: value.clone() for key, value in self._table[batch_section(slot)].items()}

    @contextlib.contextmanager
    def _released_on_failure(self) -> Iterator[None]:
        """Let go of the shared memory where what is done in the block closes the pool."""
        try:
            yield
        except BaseException:
            if self._pool.is_closed:
                self._table = None
            raise

    def _policy_to_send(self) -> Policy | None:
        """The policy where its weights in shared memory are not enough: it is no module, or its modules are others."""
        is_sent = self._weights.has_changed() if isinstance(self._policy, nn.Module) else self._policy is not None
        if not is_sent:
            return None
        self._wait_for_all()  # a pipe does not hold much
        self._weights = SharedWeights(self._policy)
        return self._policy

    def _random_state_to_send(self) -> bytes | None:
        """Where the worker's draws are to begin: where this process is, or in a stream of its own that goes on."""
        if not self._batches_ahead:
            return random_state()
        state, self._next_random_state = self._next_random_state, None
        if state is None and self._last_random_state is None:
            state = seeded_random_state(int(torch.randint(2**63 - 1, ())))
        self._last_random_state = self._last_random_state or state
        return state

    def _fitting_table(self) -> Table:
        """Shared memory with room for the weights and for batches such as the last one."""
        weights = self._weights.forms()
        layout: dict[str, Any] = {}
        for slot in range(self._slots):
            layout[weights_section(slot)] = weights
            layout[batch_section(slot)] = self._batch_forms
        if self._table is None or layout != self._layout:
            self._wait_for_all()
            self._table = self._pool.share(layout)
            self._layout = layout
        return self._table
