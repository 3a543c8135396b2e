"""Data sets in the layout of D4RL: one HDF5 file of flat arrays."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack, final

import numpy as np
import torch
from tensordict import TensorDict

from rl_buffers._arguments import named_arguments
from rl_buffers._options import DatasetOptions
from rl_buffers.datasets._extras import require
from rl_buffers.datasets._rows import nested_tensors, step_rows
from rl_buffers.datasets._source import RowSource
from rl_buffers.datasets.base import BaseDatasetExperienceReplay
from rl_specs import SpecError, message, missing_key

_NAME = "D4RLExperienceReplay"
_CHUNK = 65_536
_NEEDED = ("observations", "actions", "rewards", "terminals")


@final
class D4RLExperienceReplay(BaseDatasetExperienceReplay):
    """A file in the layout of D4RL: `observations`, `actions`, `rewards` and `terminals`, `[N, ...]` each.

    `timeouts` are truncations. What a step led to is in `next_observations`, or else it is the row below; of a step at
    the end of a trajectory nothing is known then. Where it terminated, zeros stand for it, which no estimate uses.
    Where it timed out, or the file ends, the step is left out, since its value would be bootstrapped from another
    episode's observation; `terminate_on_end` keeps it, as one that terminated. Entries below `infos` with a value for
    each step become `("info", ...)`.

    Args:
        path: the file.
        batch_size: rows in a batch.
        terminate_on_end: keep steps that timed out, and take them for terminated.
        root: folder for the converted form; None for `~/.cache/rl_buffers/d4rl`.
        split_trajs, sampler, writer, collate_fn, transform, generator, prefetch, pin_memory: see
            `BaseDatasetExperienceReplay`.
    Raises:
        ImportError: the library h5py is not installed.
        FileNotFoundError: there is no such file.
        SpecError: the file is not in that layout.
    Source: Fu et al. 2020, https://arxiv.org/abs/2004.07219
    """

    @named_arguments
    def __init__(
        self,
        path: str | Path,
        batch_size: int | None = None,
        *,
        terminate_on_end: bool = False,
        **options: Unpack[DatasetOptions],
    ) -> None:
        super().__init__(_D4RLRows(Path(path), terminate_on_end=terminate_on_end), batch_size, **options)

    @property
    def kind(self) -> str:
        """`"d4rl"`."""
        return "d4rl"


class _D4RLRows(RowSource):
    """Rows of a file, a chunk at a time."""

    def __init__(self, path: Path, *, terminate_on_end: bool) -> None:
        self._path = path
        self._terminate_on_end = terminate_on_end

    @property
    def name(self) -> str:
        """See `RowSource`."""
        return self._path.stem + ("-terminate-on-end" if self._terminate_on_end else "")

    def most_rows(self) -> int:
        """See `RowSource`."""
        with self._opened() as file:
            return len(file["rewards"])

    def blocks(self) -> Iterator[TensorDict]:
        """See `RowSource`; one block for each chunk."""
        with self._opened() as file:
            count, episode = len(file["rewards"]), 0
            infos = _infos(file, count)
            for start in range(0, count, _CHUNK):
                stop = min(start + _CHUNK, count)
                block, episode = self._block(file, infos, start, stop, episode)
                yield block

    def metadata(self) -> dict[str, Any]:
        """See `RowSource`."""
        with self._opened() as file:
            found = {str(key): _plain(value) for key, value in file.attrs.items()}
            if "metadata" in file:
                group = file["metadata"]
                found.update({key: _plain(item[()]) for key, item in group.items() if item.shape is not None})
            return {"file": str(self._path), "steps": len(file["rewards"]), **found}

    def _opened(self) -> Any:
        h5py = require("h5py", component=_NAME, extra="hdf5")
        if not self._path.is_file():
            raise FileNotFoundError(
                message(_NAME, f"there is no file {self._path}", fix="Give the path of an HDF5 file")
            )
        try:
            file = h5py.File(self._path, "r")
        except OSError as error:
            raise SpecError(message(_NAME, f"{self._path} is no HDF5 file: {error}")) from error
        for key in _NEEDED:
            if key not in file:
                names = list(file)
                file.close()
                raise missing_key(_NAME, key, names, fix="Give a file in the layout of D4RL")
        return file

    def _block(self, file: Any, infos: dict[str, Any], start: int, stop: int, episode: int) -> tuple[TensorDict, int]:
        terminated = _flags(file, "terminals", start, stop)
        timed_out = _flags(file, "timeouts", start, stop) & ~terminated
        ends = terminated | timed_out
        numbers = episode + np.concatenate(([0], np.cumsum(ends)[:-1]))
        observation, keep = file["observations"][start:stop], np.ones_like(ends)
        if "next_observations" in file:
            following = file["next_observations"][start:stop]
        else:
            below = file["observations"][stop : stop + 1]
            unknown = ends.copy()
            unknown[-1] |= len(below) == 0
            following = np.concatenate((observation[1:], below if len(below) else observation[-1:]))
            following[unknown] = 0
            if self._terminate_on_end:
                terminated, timed_out = terminated | unknown, np.zeros_like(timed_out)
            else:
                keep = terminated | ~unknown
        rows = step_rows(
            _NAME,
            observation=nested_tensors(observation, _NAME, ("observations",)),
            following=nested_tensors(following, _NAME, ("next_observations",)),
            action=nested_tensors(file["actions"][start:stop], _NAME, ("actions",)),
            reward=np.asarray(file["rewards"][start:stop]).reshape(-1),
            terminated=terminated,
            truncated=timed_out,
            episode=torch.from_numpy(numbers),
        )
        for name, values in infos.items():
            rows["info", name] = nested_tensors(values[start:stop], _NAME, ("infos", name))
        return rows[torch.from_numpy(keep)], episode + int(ends.sum())


def _flags(file: Any, name: str, start: int, stop: int) -> np.ndarray[Any, Any]:
    """Flags `[n]`; False where the file has none of that name."""
    if name not in file:
        return np.zeros(stop - start, dtype=bool)
    return np.asarray(file[name][start:stop]).astype(bool).reshape(-1)


def _infos(file: Any, count: int) -> dict[str, Any]:
    """Arrays below `infos` with a value for each step, by name."""
    h5py = require("h5py", component=_NAME, extra="hdf5")
    found: dict[str, Any] = {}
    group = file.get("infos")
    for name in group if group is not None else ():
        item = group[name]
        if isinstance(item, h5py.Dataset) and item.shape[:1] == (count,) and item.dtype.kind in "biuf":
            found[name] = item
    return found


def _plain(value: Any) -> Any:
    """A value that JSON knows: text, number or list; anything else as text."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray | np.generic):
        listed = value.tolist()
        return listed if value.dtype.kind in "biuf" and value.size <= 64 else str(listed)[:1000]
    return value if isinstance(value, str | int | float | bool) else str(value)
