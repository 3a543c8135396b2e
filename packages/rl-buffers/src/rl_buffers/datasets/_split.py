"""A data set whose rows are whole trajectories, padded to one length."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import torch
from tensordict import TensorDict
from torch import Tensor

from rl_buffers._storage import Storage
from rl_buffers.datasets._converted import is_converted, opened
from rl_buffers.datasets._source import RowSource
from rl_buffers.storages import LazyMemmapStorage
from rl_specs import MissingKeyError, NestedKey, SpecError, message

_ID: NestedKey = "episode"
_FLAGS: tuple[NestedKey, ...] = (("next", "done"), ("next", "terminated"), ("next", "truncated"))
_MASK = "mask"
_STEPS = 65_536


def split_folder(folder: Path) -> Path:
    """Where the trajectories of a data set are, whose converted form would be in `folder`."""
    return folder.with_name(folder.name + ".trajectories")


def opened_split(component: str, source: RowSource, folder: Path) -> tuple[LazyMemmapStorage, dict[str, Any]]:
    """Storage of trajectories and metadata of a data set, converted first where that has not been done.

    They are made of the converted form of its steps, in `folder`; where there is none, of one that does not stay.

    Args:
        component: who asks, for messages.
        source: where steps come from.
        folder: the converted form of the steps.
    Raises:
        SpecError, MissingKeyError: nothing says where trajectories end; or as for `opened`.
    """
    target = split_folder(folder)
    if is_converted(target):
        return opened(component, source, target)
    is_kept = is_converted(folder)
    steps = folder if is_kept else target.with_name(f"{target.name}.{os.getpid()}.steps")
    try:
        storage, metadata = opened(component, source, steps)
        try:
            return opened(component, _Trajectories(component, source.name, storage, metadata), target)
        finally:
            storage.close()
    finally:
        if not is_kept:
            shutil.rmtree(steps, ignore_errors=True)


@final
class _Trajectories(RowSource):
    """Trajectories `[L]` of the steps in a storage, padded with zeros to the length `L` of the longest."""

    def __init__(self, component: str, name: str, steps: Storage, metadata: dict[str, Any]) -> None:
        self._component = component
        self._name = name
        self._steps = steps
        self._metadata = metadata
        ends = _ends(component, name, steps).nonzero().squeeze(1) + 1
        self._lengths = torch.diff(ends, prepend=ends.new_zeros(1))
        self._starts = ends - self._lengths
        self._longest = int(self._lengths.max())

    @property
    def name(self) -> str:
        """See `RowSource`."""
        return self._name

    def most_rows(self) -> int:
        """See `RowSource`."""
        return len(self._lengths)

    def blocks(self) -> Iterator[TensorDict]:
        """Trajectories `[k, L]`, some at a time, with `"mask"`."""
        place = torch.arange(self._longest)
        count = max(1, _STEPS // self._longest)
        for first in range(0, len(self._starts), count):
            starts, lengths = self._starts[first : first + count], self._lengths[first : first + count]
            mask = place < lengths.unsqueeze(1)
            index = torch.where(mask, starts.unsqueeze(1) + place, starts.unsqueeze(1))
            rows = self._steps.read(index.flatten()).reshape(index.shape)
            if _MASK in rows:
                problem = f'the steps of {self._name} have an entry "{_MASK}", which would say which steps are real'
                fix = "Give that entry another name, or draw slices: SliceSampler(traj_key='episode', ...)"
                raise SpecError(message(self._component, problem, fix=fix))
            yield _masked(rows, mask).set(_MASK, mask)

    def metadata(self) -> dict[str, Any]:
        """That of the data set, with the number of trajectories and the length of the longest."""
        return {**self._metadata, "trajectories": len(self._lengths), "longest": self._longest}


def _masked(rows: TensorDict, mask: Tensor) -> TensorDict:
    """`rows`, `[k, L]`, with zeros where the mask is false."""
    out = TensorDict(batch_size=rows.batch_size)
    for key in rows.keys(True, True):
        value: Tensor = rows[key]
        out[key] = value.masked_fill(~mask.view(*mask.shape, *[1] * (value.ndim - 2)), 0)
    return out


def _ends(component: str, name: str, steps: Storage) -> Tensor:
    """Whether a trajectory ends with a step, bool `[n]`: by a change of its number, and by the flags."""
    count = len(steps)
    is_last = torch.zeros(count, dtype=torch.bool)
    found = 0
    for key in (_ID, *_FLAGS):
        try:
            values = steps.read_entry(key, slice(0, count)).reshape(count, -1)
        except MissingKeyError:
            continue
        found += 1
        if key == _ID:
            is_last[:-1] |= (values[1:] != values[:-1]).any(1)
        else:
            is_last |= values.bool().any(1)
    fix = "Leave split_trajs out, and sample single steps"
    if not found:
        problem = f'nothing in {name} says where trajectories end: no "episode", no flag such as ("next", "done")'
        raise MissingKeyError(message(component, problem, fix=f"Store one with every step. {fix}"))
    if not is_last.any():
        problem = f"nothing in {name} says where trajectories end: no step terminates or is truncated"
        raise SpecError(message(component, problem, fix=fix))
    is_last[-1] = True
    return is_last
