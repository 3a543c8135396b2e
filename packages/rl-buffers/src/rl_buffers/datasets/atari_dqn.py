"""The replay logs of DQN agents on Atari games, as Dopamine writes them."""

import gzip
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Unpack, final

import numpy as np
import torch
from tensordict import TensorDict

from rl_buffers._arguments import named_arguments
from rl_buffers._options import DatasetOptions
from rl_buffers.datasets._rows import step_rows
from rl_buffers.datasets._source import RowSource
from rl_buffers.datasets.base import BaseDatasetExperienceReplay
from rl_specs import SpecError, message

_NAME = "AtariDQNExperienceReplay"
_CHUNK = 4096
_ENTRIES = ("observation", "action", "reward", "terminal")


@final
class AtariDQNExperienceReplay(BaseDatasetExperienceReplay):
    """A folder of checkpoints `$store$_observation_ckpt.<n>.gz` and its likes for action, reward and terminal.

    Frames are uint8 `[84, 84]`, one for each step; stack them with `SliceSampler` and `CatFrames`. The frame after a
    step is that of the step below. After a terminal step, zeros stand for it; the last step of a checkpoint, the frame
    after which is not known, is left out, and a new trajectory begins with the next checkpoint.

    Args:
        path: the folder `replay_logs` of one game and run.
        batch_size: rows in a batch.
        checkpoints: numbers of the checkpoints to read; None for all of them.
        root: folder for the converted form; None for `~/.cache/rl_buffers/atari_dqn`.
        split_trajs, sampler, writer, collate_fn, transform, generator, prefetch, pin_memory: see
            `BaseDatasetExperienceReplay`.
    Raises:
        FileNotFoundError: a checkpoint is missing, or a part of it.
        SpecError: a file is damaged, or the parts of a checkpoint differ in length.
    Source: Agarwal et al. 2020, https://arxiv.org/abs/1907.04543
    """

    @named_arguments
    def __init__(
        self,
        path: str | Path,
        batch_size: int | None = None,
        *,
        checkpoints: list[int] | None = None,
        **options: Unpack[DatasetOptions],
    ) -> None:
        super().__init__(_CheckpointRows(Path(path), checkpoints), batch_size, **options)

    @property
    def kind(self) -> str:
        """`"atari_dqn"`."""
        return "atari_dqn"


class _CheckpointRows(RowSource):
    """Rows of checkpoints, unpacked a chunk at a time."""

    def __init__(self, folder: Path, numbers: list[int] | None) -> None:
        self._folder = folder
        self._chosen = numbers

    @property
    def name(self) -> str:
        """See `RowSource`."""
        parts = [part for part in self._folder.absolute().parts[-3:] if part not in ("/", "replay_logs")]
        suffix = "" if self._chosen is None else "-" + "-".join(map(str, self._chosen))
        return "/".join(parts) + suffix

    def most_rows(self) -> int:
        """See `RowSource`."""
        total = 0
        for number in self._numbers():
            with _Unpacked(self._file("reward", number)) as rewards:
                total += rewards.length
        return total

    def blocks(self) -> Iterator[TensorDict]:
        """See `RowSource`; one block for each chunk."""
        episode = 0
        for number in self._numbers():
            with ExitStack() as stack:
                files = [stack.enter_context(_Unpacked(self._file(entry, number))) for entry in _ENTRIES]
                lengths = {entry: file.length for entry, file in zip(_ENTRIES, files, strict=True)}
                if len(set(lengths.values())) > 1:
                    raise SpecError(message(_NAME, f"the parts of checkpoint {number} differ in length: {lengths}"))
                held = [file.read(1) for file in files]
                while len(held[0]):
                    read = [file.read(_CHUNK) for file in files]
                    joined = [np.concatenate(pair) for pair in zip(held, read, strict=True)]
                    block, episode = _block(joined, episode)
                    yield block
                    held = [values[-1:] if len(new) else values[:0] for values, new in zip(joined, read, strict=True)]
            episode += 1

    def metadata(self) -> dict[str, Any]:
        """See `RowSource`."""
        return {"folder": str(self._folder), "checkpoints": self._numbers()}

    def _numbers(self) -> list[int]:
        if self._chosen is not None:
            return self._chosen
        pattern = re.compile(r"\$store\$_reward_ckpt\.(\d+)\.gz")
        files = self._folder.iterdir() if self._folder.is_dir() else ()
        numbers = sorted(int(match[1]) for match in map(pattern.fullmatch, (file.name for file in files)) if match)
        if not numbers:
            fix = "Give the folder replay_logs of a run, which holds files such as $store$_reward_ckpt.0.gz"
            raise FileNotFoundError(message(_NAME, f"{self._folder} holds no checkpoints", fix=fix))
        return numbers

    def _file(self, entry: str, number: int) -> Path:
        path = self._folder / f"$store$_{entry}_ckpt.{number}.gz"
        if not path.is_file():
            raise FileNotFoundError(message(_NAME, f"checkpoint {number} lacks {path.name} in {self._folder}"))
        return path


def _block(columns: list[np.ndarray[Any, Any]], episode: int) -> tuple[TensorDict, int]:
    """Steps `[n]` of `n + 1` rows, and the number of the trajectory that the last of these is part of."""
    frames, actions, rewards, terminal = columns
    ends = terminal[:-1].astype(bool)
    following = frames[1:].copy()
    following[ends] = 0
    numbers = episode + np.concatenate(([0], np.cumsum(ends)))
    rows = step_rows(
        _NAME,
        observation=torch.from_numpy(frames[:-1].copy()),
        following=torch.from_numpy(following),
        action=torch.from_numpy(actions[:-1].astype(np.int64)),
        reward=rewards[:-1],
        terminated=ends,
        truncated=np.zeros_like(ends),
        episode=torch.from_numpy(numbers[:-1]),
    )
    return rows, int(numbers[-1])


class _Unpacked:
    """An array in a compressed file, read from its beginning to its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = gzip.open(path, "rb")  # noqa: SIM115  # closed by __exit__
        try:
            version = np.lib.format.read_magic(self._file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, is_fortran, self._dtype = read(self._file)
        except (ValueError, OSError, EOFError) as error:
            self._file.close()
            raise SpecError(message(_NAME, f"{path} holds no array: {error}")) from error
        if is_fortran and len(shape) > 1:
            raise SpecError(message(_NAME, f"{path} holds columns, not rows"))
        self.length: int = shape[0]
        self._row_shape = shape[1:]
        self._row_bytes = int(np.prod(self._row_shape, dtype=np.int64)) * self._dtype.itemsize
        self._left = self.length

    def read(self, count: int) -> np.ndarray[Any, Any]:
        """The next rows, at most `count` of them."""
        count = min(count, self._left)
        self._left -= count
        try:
            data = self._file.read(count * self._row_bytes)
        except (OSError, EOFError) as error:
            raise SpecError(message(_NAME, f"{self._path} is damaged: {error}")) from error
        if len(data) < count * self._row_bytes:
            raise SpecError(message(_NAME, f"{self._path} ends before its array does"))
        return np.frombuffer(data, dtype=self._dtype).reshape(count, *self._row_shape)

    def __enter__(self) -> "_Unpacked":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
