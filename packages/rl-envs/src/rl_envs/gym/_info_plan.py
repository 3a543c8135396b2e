"""Which entries of `info` dictionaries become tensors, decided once; the step follows it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import torch
from tensordict import TensorDict

from rl_envs._flat import unpack_flat
from rl_envs.gym._info_values import as_array, check_whole, value_at
from rl_envs.gym.info import BaseInfoDictReader
from rl_specs import Binary, FlatDict, NestedKey, SpecError, TensorSpec, canonical_key, message, missing_key

Array = np.ndarray[Any, Any]
Info: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class InfoEntry:
    """A value of an `info` dictionary that becomes an entry.

    Args:
        name: where it is in the dictionary.
        key: the entry that it becomes.
        spec: its spec, for one env.
        absent: what stands for a value that is not there.
        convert: what is made of a value before it becomes an array; None: nothing.
        is_expected: whether the first reset or the first step is to have it.
    """

    name: NestedKey
    key: NestedKey
    spec: TensorSpec
    absent: int = 0
    convert: Callable[[Any], Any] | None = None
    is_expected: bool = False


@final
class InfoPlan:
    """Reads the `info` dictionaries of a batch of envs.

    Args:
        entries: values that are taken as they are.
        readers: callables of the user's.
    """

    def __init__(self, entries: Sequence[InfoEntry] = (), readers: Sequence[BaseInfoDictReader] = ()) -> None:
        self._entries = tuple(entries)
        self._readers = tuple(readers)
        self._forms = [
            (entry, tuple(entry.spec.shape), torch.empty(0, dtype=entry.spec.dtype).numpy().dtype)
            for entry in self._entries
        ]
        self._unseen = {entry.name for entry in self._entries if entry.is_expected}
        self._has_reset = False

    def extended(self, entries: Sequence[InfoEntry] = (), readers: Sequence[BaseInfoDictReader] = ()) -> "InfoPlan":
        """This plan with more in it."""
        return InfoPlan((*self._entries, *entries), (*self._readers, *readers))

    def specs(self) -> dict[NestedKey, TensorSpec]:
        """Specs of all entries, for one env."""
        found = {entry.key: entry.spec for entry in self._entries}
        for reader in self._readers:
            found.update({canonical_key(key): spec for key, spec in reader.info_spec.items()})
        return found

    def read(self, info: Info) -> FlatDict:
        """Entries of one env."""
        return {key: value[0] for key, value in self.read_rows([info]).items()}

    def read_rows(self, infos: Sequence[Info | None]) -> FlatDict:
        """Entries `[N, ...]` of `N` envs; a dictionary that is None is one without values."""
        if self._unseen:
            self._look([info for info in infos if info is not None])
        entries: FlatDict = {}
        for entry, shape, dtype in self._forms:
            rows = np.full((len(infos), *shape), entry.absent, dtype=dtype)
            for row, info in enumerate(infos):
                value = None if info is None else value_at(info, entry.name)
                if value is not None:
                    rows[row] = as_array(
                        entry.name, value if entry.convert is None else entry.convert(value), entry.spec
                    )
            entries[entry.key] = torch.from_numpy(rows)
        for reader in self._readers:
            entries.update(_read_rows(reader, infos))
        return entries

    def read_columns(self, columns: Mapping[NestedKey, Array], count: int) -> FlatDict:
        """Entries `[N, ...]` of `count` envs whose values lie in one array `[N, ...]` for each name."""
        if self._unseen:
            self._look([row_of(columns, row) for row in range(count)])
        entries: FlatDict = {}
        for entry, shape, dtype in self._forms:
            column = columns.get(entry.name)
            if column is None:
                rows = np.full((count, *shape), entry.absent, dtype=dtype)
            elif entry.convert is not None:
                rows = np.stack([as_array(entry.name, entry.convert(value), entry.spec) for value in column])
            else:
                as_array(entry.name, column[0], entry.spec)  # its shape is that of all
                if column.dtype.kind == "f" and dtype.kind != "f":
                    check_whole(entry.name, column, entry.spec.zero().dtype)
                rows = column.reshape(count, *shape)
            entries[entry.key] = torch.from_numpy(rows.astype(dtype, copy=False))
        if self._readers:
            infos = [row_of(columns, row) for row in range(count)]
            for reader in self._readers:
                entries.update(_read_rows(reader, infos))
        return entries

    def _look(self, infos: Sequence[Info]) -> None:
        """Look for the names that are expected.

        Raises:
            MissingKeyError: neither the first reset nor the step after it has one.
        """
        self._unseen = {name for name in self._unseen if all(value_at(info, name) is None for info in infos)}
        if self._unseen and self._has_reset:
            has = {key for info in infos for key in info if isinstance(key, str)}
            fix = "Name an entry of the environment's info, or leave action_mask out"
            raise missing_key("GymWrapper: action_mask", min(self._unseen, key=str), has, fix=fix)
        self._has_reset = True


def row_of(columns: Mapping[NestedKey, Array], row: int) -> dict[str, Any]:
    """The dictionary of one env."""
    info: dict[str, Any] = {}
    for key, column in columns.items():
        *path, name = (key,) if isinstance(key, str) else key
        level = info
        for part in path:
            level = level.setdefault(part, {})
        level[name] = column[row]
    return info


def _read_rows(reader: BaseInfoDictReader, infos: Sequence[Info | None]) -> FlatDict:
    written = [_read(reader, info) if info else {} for info in infos]
    entries: FlatDict = {}
    for key, spec in reader.info_spec.items():
        name = canonical_key(key)
        rows = [row.get(name) for row in written]
        entries[name] = torch.stack([spec.zero() if value is None else value for value in rows])
    return entries


def _read(reader: BaseInfoDictReader, info: Info) -> FlatDict:
    return unpack_flat(reader(dict(info), TensorDict({}, batch_size=[])))


def mask_entry(name: NestedKey, action_space: Any) -> InfoEntry:
    """The entry `"action_mask"`: which actions an env allows, bool; all of them where an `info` does not say.

    Args:
        name: where the mask is in `info`.
        action_space: `Discrete`, with a mask `[n]`, or `MultiDiscrete`, with one for each of its variables.
    Raises:
        SpecError: an action space of another kind.
    """
    from gymnasium import spaces

    match action_space:
        case spaces.Discrete():
            width = int(action_space.n)
        case spaces.MultiDiscrete():
            width = int(np.sum(action_space.nvec))
        case _:
            expected, fix = "Discrete or MultiDiscrete", "Leave action_mask out"
            raise SpecError(
                message("action_mask", "an action space without masks", expected=expected, found=action_space, fix=fix)
            )
    spec = Binary(shape=torch.Size((width,)), dtype=torch.bool)
    return InfoEntry(canonical_key(name), "action_mask", spec, absent=1, convert=_as_mask, is_expected=True)


def _as_mask(value: Any) -> Array:
    """A mask, or one for each variable, as bool `[width]`."""
    parts = value if isinstance(value, tuple | list) else (value,)
    return np.concatenate([np.ravel(part) for part in parts]).astype(np.bool_)


def split_infos(infos: Info, count: int) -> list[dict[str, Any]]:
    """The dictionary of each env, from that of a `VectorEnv`.

    Args:
        infos: values of all envs under each name, and under the name with an underscore in front which envs have one;
            without that, all have.
        count: number of envs.
    """
    rows: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, values in infos.items():
        if name.startswith("_") and name[1:] in infos:
            continue
        is_there = infos.get(f"_{name}")
        is_common = not isinstance(values, Mapping) and np.shape(values)[:1] != (count,)
        parts = split_infos(values, count) if isinstance(values, Mapping) else values
        for row in range(count):
            if is_there is None or is_there[row]:
                rows[row][name] = values if is_common else parts[row]
    return rows
