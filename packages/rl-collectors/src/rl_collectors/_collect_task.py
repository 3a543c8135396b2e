"""The part of overlapped collection that runs in the worker."""

import copy
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn

from rl_collectors._collection_loop import CollectionLoop
from rl_collectors._random_state import random_state, set_random_state
from rl_collectors._source import Policy, Request, Setup
from rl_collectors._weights import SharedWeights
from rl_envs import unpack_flat
from rl_envs.parallel import Table, Task, TensorForm
from rl_specs import FlatDict, message

COLLECT = "collect"


def weights_section(slot: int) -> str:
    """Section of the shared table that the weights for a batch come in."""
    return f"weights {slot}"


def batch_section(slot: int) -> str:
    """Section of the shared table that a batch leaves in."""
    return f"batch {slot}"


@dataclass(frozen=True)
class Ask:
    """What the parent asks for.

    Args:
        request: how the batch is to be collected.
        slot: which sections of the table to use.
        random_state: state of the global random streams to begin with; None goes on with the worker's own.
        policy: what acts from now on; None leaves it at that.
    """

    request: Request
    slot: int
    random_state: bytes | None
    policy: Policy | None


@dataclass(frozen=True)
class Answer:
    """What the worker has to say of a batch.

    Args:
        entries: the batch `[*B, T]`, when its section has another layout; None: it lies there.
        random_state: state of the global random streams after it.
    """

    entries: FlatDict | None
    random_state: bytes


@dataclass(frozen=True)
class Place:
    """What the parent knows of the environment in the worker."""

    batch_size: torch.Size
    device: torch.device | None


@final
class CollectTask(Task):
    """A `CollectionLoop` that collects on demand.

    Args:
        setup: what collection is made from.
        policy: what acts.
    """

    def __init__(self, setup: Setup, policy: Policy | None) -> None:
        self._loop = CollectionLoop(setup, None)
        self._use(policy)
        self._table: Table | None = None

    def _use(self, policy: Policy | None) -> None:
        if isinstance(policy, nn.Module) and self._are_shared(policy):
            policy = copy.deepcopy(policy)  # in a fork its weights are the parent's, which is learning
        self._loop.policy = policy
        self._weights = SharedWeights(policy)

    @staticmethod
    def _are_shared(policy: nn.Module) -> bool:
        tensors = [*policy.parameters(), *policy.buffers()]
        return any(tensor.untyped_storage().is_shared() for tensor in tensors)

    def describe(self) -> Place:
        """See `Task`."""
        return Place(self._loop.env.batch_size, self._loop.env.device)

    def connect(self, table: Table) -> None:
        """See `Task`."""
        self._table = table

    def call(self, method: str, argument: Any) -> Any:
        """See `Task`."""
        loop = self._loop
        match method:
            case "collect":
                return self._collect(argument)
            case "set_seed":
                return loop.set_seed(*argument)
            case "reset":
                loop.reset()
            case "state_dict":
                return loop.state_dict()
            case "load_state_dict":
                loop.load_state_dict(argument)
            case _:
                raise ValueError(message("CollectTask.call", "unknown method", found=method))
        return None

    def _collect(self, ask: Ask) -> Answer:
        assert self._table is not None
        if ask.policy is not None:
            self._use(ask.policy)
        self._weights.read(self._table[weights_section(ask.slot)])
        if ask.random_state is not None:
            set_random_state(ask.random_state)
        self._loop.request(ask.request)
        entries = unpack_flat(self._loop.receive())
        section = self._table[batch_section(ask.slot)]
        sent = None
        if forms_of(entries) == forms_of(section):
            for key, value in entries.items():
                section[key].copy_(value)
        else:
            sent = {key: value.cpu() for key, value in entries.items()}
        return Answer(sent, random_state())

    def step(self) -> None:
        """See `Task`; it is only called."""
        raise NotImplementedError

    def reset(self, *, is_partial: bool) -> None:
        """See `Task`; it is only called."""
        raise NotImplementedError

    def close(self) -> None:
        """See `Task`."""
        self._loop.close(close_env=True)


def forms_of(entries: FlatDict) -> dict[Any, TensorForm]:
    """Forms of the entries of a batch, in their order."""
    return {key: TensorForm(tuple(value.shape), value.dtype) for key, value in entries.items()}
