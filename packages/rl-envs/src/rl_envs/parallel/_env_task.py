"""The part of a `ParallelEnv` that one worker does: some of the environments, in a row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from rl_envs._closing import close_every
from rl_envs._env_base import EnvBase
from rl_envs._env_plan import RESET_KEY
from rl_envs._env_specs import EnvSpecs
from rl_envs._many_envs import make_envs
from rl_envs._ragged import joined_rows, row_entries
from rl_envs.parallel._apart import EXCHANGE, ApartEntries, portable, returned
from rl_envs.parallel._sections import (
    CONTROL,
    FRESH,
    GIVEN,
    KEPT,
    NEXT,
    ROOT,
    SOURCES,
    is_mixed,
    root_keys,
    rows_of,
)
from rl_envs.parallel._table import Table
from rl_envs.parallel._wiring import RESET, STEP
from rl_envs.parallel._worker import Task
from rl_envs.serial import SerialEnv
from rl_specs import DTypeError, FlatDict, NestedKey, ShapeError, key_str, message, missing_key

_FIX = "Return it from every environment in the form of its spec; check_env_specs(env) lists all that differs"


@dataclass(frozen=True)
class Description:
    """What the parent needs to know of the environments of a worker.

    Args:
        specs: of each environment.
        batch_size: of each.
        device: of each.
        has_exact_state: whether all of them have one.
        resets_members: whether all of them follow masks of groups.
        representation: the first as text.
        carried: entries that a step reads back, as `EnvBase._carried_keys` has them.
    """

    specs: list[EnvSpecs]
    batch_size: torch.Size
    device: torch.device | None
    has_exact_state: bool
    resets_members: bool
    representation: str
    carried: dict[NestedKey, bool]


def describe(envs: Sequence[EnvBase]) -> Description:
    """The description of these environments."""
    return Description(
        specs=[env._env_specs() for env in envs],
        batch_size=envs[0].batch_size,
        device=envs[0].device,
        has_exact_state=all(env.has_exact_state for env in envs),
        resets_members=all(env.resets_members for env in envs),
        representation=repr(envs[0]),
        carried={key: fixed for env in envs for key, fixed in env._carried_keys().items()},
    )


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
        self._handed_on: FlatDict | None = None
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
        self._root, self._next = rows_of(table, ROOT, rows), rows_of(table, NEXT, rows)
        self._last: list[FlatDict] = [{} for _ in rows]
        self._fresh_rows = rows_of(table, FRESH, rows) if is_mixed(table) else []
        self._fresh: FlatDict = {} if is_mixed(table) else {key: value[mine] for key, value in table[FRESH].items()}
        self._keys = root_keys(table, len(table[CONTROL][RESET_KEY]))
        self._mask = table[CONTROL][RESET_KEY][mine]
        self._sources = table[CONTROL][SOURCES].numpy()
        self._seen = b""
        self._given: list[list[NestedKey]] = []
        self._kept: list[NestedKey] = []
        self._apart = [ApartEntries(env._env_specs()) for env in self._envs]
        self._shown_leaves = [(row, apart.fresh) for row, apart in enumerate(self._apart) if apart]
        self._root_of = self._whole_root if any(self._apart) else self._row_root
        self._brought: list[FlatDict] = [{} for _ in rows]
        self._shown: list[FlatDict] = [{} for _ in rows]

    def step(self) -> None:
        """See `Task`."""
        self._read_sources()
        for row, step in enumerate(self._step_calls):
            following = step(self._root_of(row))
            if not self._is_checked[NEXT]:
                check_entries("ParallelEnv, _step", following, self._next[row])
            last = self._last[row] = _without_gradients(following)
            targets = self._next[row]
            try:
                if self._moves:
                    for key, target in targets.items():
                        target.copy_(last[key])
                else:
                    torch._foreach_copy_(list(targets.values()), [last[key] for key in targets])
            except (KeyError, RuntimeError):
                check_entries("ParallelEnv, _step", last, targets)  # says which entry does not fit
                raise
        self._is_checked[NEXT] = True

    def reset(self, *, is_partial: bool) -> None:
        """See `Task`."""
        assert self._serial is not None
        root, self._handed_on = self._handed_on, None
        if is_partial:
            self._read_sources()
            root = joined_rows([self._root_of(row) for row in range(len(self._envs))])
            root[RESET_KEY] = self._moved(self._mask.clone())
        fresh = self._serial._reset(root)
        if not self._fresh_rows:
            self._write_fresh(fresh, self._fresh)
        for row, targets in enumerate(self._fresh_rows):
            self._write_fresh(row_entries(fresh, row), targets)
        for row, leaves in self._shown_leaves:
            self._shown[row] = returned("ParallelEnv, _reset", row_entries(fresh, row), leaves)
        self._is_checked[FRESH] = True

    def call(self, method: str, argument: Any) -> Any:
        """See `Task`."""
        serial = self._serial
        assert serial is not None
        if method == EXCHANGE:
            return self._exchange(*argument)
        match method:
            case "shown":
                return self._shown
            case "set_stream":
                rows = self._first * self._envs[0].batch_size.numel()
                serial._set_stream(argument[0], argument[1] + rows)
            case "train":
                serial.train(argument)
            case "hand_on":
                self._handed_on = {key: self._moved(value) for key, value in argument.items()}
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
        close_every(self._envs)

    def _exchange(self, command: bytes, brought: list[FlatDict]) -> list[FlatDict]:
        """Step or reset with entries that have no place in the table; those that come back."""
        self._brought = brought
        if command != STEP:
            self.reset(is_partial=command == RESET)
            return self._shown
        self.step()
        rows = zip(self._last, self._apart, strict=True)
        return [returned("ParallelEnv, _step", last, apart.next) for last, apart in rows]

    def _write_fresh(self, fresh: FlatDict, targets: FlatDict) -> None:
        if not self._is_checked[FRESH]:
            check_entries("ParallelEnv, _reset", fresh, targets)
        for key, target in targets.items():
            target.copy_(fresh[key])

    def _read_sources(self) -> None:
        seen = self._sources.tobytes()
        if seen != self._seen:
            self._seen = seen
            keys = list(zip(self._keys, seen, strict=True))
            given = [key for key, source in keys if source == GIVEN]
            self._given = [[key for key in given if key in row] for row in self._root]
            self._kept = [key for key, source in keys if source == KEPT]

    def _row_root(self, row: int) -> FlatDict:
        """Root entries of one environment, its own: it may keep them, and the table changes."""
        table = self._root[row]
        root = {key: table[key].clone() for key in self._given[row]}
        if self._moves:
            root = {key: self._moved(value) for key, value in root.items()}
        last = self._last[row]
        for key in self._kept:
            root[key] = last[key]
        return root

    def _whole_root(self, row: int) -> FlatDict:
        """`_row_root` with the entries that have no place in the table."""
        brought = {key: self._moved(value) for key, value in self._brought[row].items()}
        return {**self._row_root(row), **brought}

    def _moved(self, value: Tensor) -> Tensor:
        return value.to(self._device) if self._moves else value


def _without_gradients(entries: FlatDict) -> FlatDict:
    return {key: value.detach() if value.requires_grad else value for key, value in entries.items()}


def portable_rows(entries: FlatDict, rows: Any) -> FlatDict:
    """Entries of some environments on their way to another process, which does not get those of the others."""
    return {key: portable(value[rows]).clone() for key, value in entries.items()}


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
