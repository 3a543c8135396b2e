"""The part of a `ParallelEnv` that one worker does: some of the environments, in a row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from rl_envs._env_base import EnvBase
from rl_envs._env_plan import RESET_KEY
from rl_envs._env_specs import EnvSpecs
from rl_envs._many_envs import make_envs
from rl_envs.parallel._table import Layout, Table, TensorForm, forms
from rl_envs.parallel._worker import Task
from rl_envs.serial import SerialEnv
from rl_specs import DTypeError, FlatDict, NestedKey, ShapeError, key_str, message, missing_key

ROOT, NEXT, FRESH, CONTROL = "root", "next", "fresh", "control"
"""Sections of the table: what a step reads, what it returns, what a reset returns, and what steers the workers."""
SOURCES = "sources"
"""Where a worker finds each root entry, one byte each: nowhere, in the table, or in what its last step returned."""
NOWHERE, GIVEN, KEPT = range(3)
_FIX = "Return it from every environment in the form of its spec; check_env_specs(env) lists all that differs"


@dataclass(frozen=True)
class Description:
    """What the parent needs to know of the environments of a worker.

    Args:
        specs: of each environment.
        batch_size: of each.
        device: of each.
        has_exact_state: whether all of them have one.
        representation: the first as text.
        carried: entries that a step reads back, as `EnvBase._carried_keys` has them.
    """

    specs: list[EnvSpecs]
    batch_size: torch.Size
    device: torch.device | None
    has_exact_state: bool
    representation: str
    carried: dict[NestedKey, bool]


def describe(envs: Sequence[EnvBase]) -> Description:
    """The description of these environments."""
    return Description(
        specs=[env._env_specs() for env in envs],
        batch_size=envs[0].batch_size,
        device=envs[0].device,
        has_exact_state=all(env.has_exact_state for env in envs),
        representation=repr(envs[0]),
        carried=envs[0]._carried_keys(),
    )


def table_layout(component: str, specs: EnvSpecs) -> Layout:
    """Sections for environments `[N, *B]` with these specs.

    Raises:
        SpecError: an entry is no tensor.
    """
    root = forms(component, specs.action, specs.state, specs.observation, specs.done)
    batch = tuple(specs.observation.shape)
    control: dict[NestedKey, TensorForm] = {
        RESET_KEY: TensorForm((*batch, 1), torch.bool),
        SOURCES: TensorForm((len(root),), torch.uint8),
    }
    return {
        ROOT: root,
        NEXT: forms(component, specs.observation, specs.reward, specs.done),
        FRESH: forms(component, specs.observation, specs.done),
        CONTROL: control,
    }


@final
class EnvTask(Task):
    """Steps environments `first, first + 1, ...` of a batch.

    Args:
        makers: make the environments.
        first: position of the first one.
    """

    def __init__(self, makers: Sequence[Callable[[], Any]], first: int) -> None:
        self._envs = make_envs("ParallelEnv", makers)
        self._first = first
        self._serial: SerialEnv | None = None
        self._is_checked = {NEXT: False, FRESH: False}

    def describe(self) -> Description:
        """See `Task`."""
        return describe(self._envs)

    def connect(self, table: Table) -> None:
        """See `Task`; the parent has compared the specs."""
        serial = self._serial = SerialEnv._of(self._envs)
        count = len(self._envs)
        mine = slice(self._first, self._first + count)
        self._device = serial.device
        self._moves = serial.device is not None and serial.device.type != "cpu"
        self._step_calls = [plan.step for plan in serial._plans]
        rows = [self._first + row for row in range(count)]
        self._root: list[FlatDict] = [{key: value[row] for key, value in table[ROOT].items()} for row in rows]
        self._next: list[FlatDict] = [{key: value[row] for key, value in table[NEXT].items()} for row in rows]
        self._last: list[FlatDict] = [{} for _ in rows]
        self._fresh: FlatDict = {key: value[mine] for key, value in table[FRESH].items()}
        self._mask = table[CONTROL][RESET_KEY][mine]
        self._sources = table[CONTROL][SOURCES].numpy()
        self._seen = b""
        self._given: list[NestedKey] = []
        self._kept: list[NestedKey] = []

    def step(self) -> None:
        """See `Task`."""
        self._read_sources()
        for row, step in enumerate(self._step_calls):
            following = step(self._row_root(row))
            if not self._is_checked[NEXT]:
                check_entries("ParallelEnv, _step", following, self._next[row])
            last = self._last[row] = _without_gradients(following)
            targets = self._next[row]
            if self._moves:
                for key, target in targets.items():
                    target.copy_(last[key])
            else:
                torch._foreach_copy_(list(targets.values()), [last[key] for key in targets])
        self._is_checked[NEXT] = True

    def reset(self, *, is_partial: bool) -> None:
        """See `Task`."""
        assert self._serial is not None
        root: FlatDict | None = None
        if is_partial:
            self._read_sources()
            rows = [self._row_root(row) for row in range(len(self._envs))]
            root = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
            root[RESET_KEY] = self._moved(self._mask.clone())
        fresh = self._serial._reset(root)
        if not self._is_checked[FRESH]:
            check_entries("ParallelEnv, _reset", fresh, self._fresh)
            self._is_checked[FRESH] = True
        for key, target in self._fresh.items():
            target.copy_(fresh[key])

    def call(self, method: str, argument: Any) -> Any:
        """See `Task`."""
        serial = self._serial
        assert serial is not None
        match method:
            case "set_stream":
                rows = self._first * self._envs[0].batch_size.numel()
                serial._set_stream(argument[0], argument[1] + rows)
            case "train":
                serial.train(argument)
            case "get_state":
                return serial.get_state()["envs"]
            case "state_dict":
                return serial.state_dict()["envs"]
            case "set_state":
                serial.set_state({"envs": argument})
            case "load_state_dict":
                serial.load_state_dict({"envs": argument})
            case _:
                raise ValueError(message("EnvTask.call", "unknown method", found=method))
        return None

    def close(self) -> None:
        """See `Task`."""
        for env in self._envs:
            env.close()

    def _read_sources(self) -> None:
        seen = self._sources.tobytes()
        if seen != self._seen:
            self._seen = seen
            keys = list(zip(self._root[0], seen, strict=True))
            self._given = [key for key, source in keys if source == GIVEN]
            self._kept = [key for key, source in keys if source == KEPT]

    def _row_root(self, row: int) -> FlatDict:
        """Root entries of one environment, its own: it may keep them, and the table changes."""
        table = self._root[row]
        root = {key: table[key].clone() for key in self._given}
        if self._moves:
            root = {key: self._moved(value) for key, value in root.items()}
        last = self._last[row]
        for key in self._kept:
            root[key] = last[key]
        return root

    def _moved(self, value: Tensor) -> Tensor:
        return value.to(self._device) if self._moves else value


def _without_gradients(entries: FlatDict) -> FlatDict:
    return {key: value.detach() if value.requires_grad else value for key, value in entries.items()}


def check_entries(where: str, entries: FlatDict, targets: FlatDict) -> None:
    """Compare what environments return with the table, into which a copy would broadcast and convert.

    Raises:
        MissingKeyError, ShapeError, DTypeError: an entry is missing, or of another form than its spec.
    """
    for key, target in targets.items():
        value = entries.get(key)
        if value is None:
            raise missing_key(where, key, entries, fix=_FIX)
        if value.shape != target.shape:
            problem = f"{key_str(key)} has another shape than its spec"
            raise ShapeError(message(where, problem, expected=tuple(target.shape), found=tuple(value.shape), fix=_FIX))
        if value.dtype is not target.dtype:
            problem = f"{key_str(key)} has another dtype than its spec"
            raise DTypeError(message(where, problem, expected=target.dtype, found=value.dtype, fix=_FIX))
