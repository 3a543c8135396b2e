"""What all data sets share: rows that are converted once, opened from files, and never written to."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

from tensordict import TensorDictBase

from rl_buffers._arguments import named_arguments
from rl_buffers._options import BatchOptions
from rl_buffers._tensordict_buffer import TensorDictBufferBase
from rl_buffers.datasets._converted import opened
from rl_buffers.datasets._source import RowSource
from rl_buffers.datasets._split import opened_split, split_folder
from rl_buffers.samplers import Sampler
from rl_buffers.storages import LazyMemmapStorage
from rl_buffers.writers import ImmutableDatasetWriter, Writer
from rl_specs import SpecError, message


class BaseDatasetExperienceReplay(TensorDictBufferBase, ABC):
    """A buffer around a data set on disk; see `TensorDictReplayBuffer` for what it can do.

    Derive from it to read another format: write a `RowSource`, and hand it to this constructor.

    Args:
        source: where rows come from.
        batch_size: rows in a batch.
        root: folder under which converted data sets are kept; None for `~/.cache/rl_buffers/<kind>`.
        split_trajs: rows are whole trajectories instead of steps, `[L]` each, padded with zeros to the length of the
            longest: a batch is `[n, L]`, and its entry `"mask"`, bool `[n, L]`, is true on real steps. They end where
            `"episode"` changes or a step is done. Their files hold the padding too.
        sampler: None for `RandomSampler()`; `SliceSampler(traj_key="episode", ...)` gives parts of trajectories.
        writer: None for `ImmutableDatasetWriter()`, which refuses to write.
        collate_fn, transform, generator, prefetch, pin_memory: as for `TensorDictReplayBuffer`.
    Raises:
        SpecError, MissingKeyError: `split_trajs`, and nothing says where trajectories end.
    """

    @named_arguments
    def __init__(
        self,
        source: RowSource,
        batch_size: int | None,
        *,
        root: str | Path | None = None,
        split_trajs: bool = False,
        sampler: Sampler | None = None,
        writer: Writer | None = None,
        **options: Unpack[BatchOptions],
    ) -> None:
        self._root = Path("~/.cache/rl_buffers", self.kind).expanduser() if root is None else Path(root)
        folder = self._root.joinpath(*source.name.split("/"))
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._path = split_folder(folder) if split_trajs else folder
        self._rows, self._metadata = (opened_split if split_trajs else opened)(type(self).__name__, source, folder)
        writer = ImmutableDatasetWriter() if writer is None else writer
        super().__init__(storage=self._rows, sampler=sampler, writer=writer, batch_size=batch_size, **options)

    @property
    @abstractmethod
    def kind(self) -> str:
        """The format, a word: the folder of such data sets in the default root."""

    @property
    def data_path_root(self) -> Path:
        """Where converted data sets of this kind are kept."""
        return self._root

    @property
    def data_path(self) -> Path:
        """The converted form of this one."""
        return self._path

    @property
    def metadata(self) -> dict[str, Any]:
        """What the data set says of itself."""
        return dict(self._metadata)

    def delete(self) -> None:
        """Remove the converted form from disk; the buffer cannot be used afterwards. What it was made of stays."""
        self._rows.close()
        shutil.rmtree(self._path)

    def preprocess(
        self, fn: Callable[[TensorDictBase], TensorDictBase], *, dest: str | Path, chunk_size: int = 4096
    ) -> LazyMemmapStorage:
        """Apply a function to all rows, some at a time, and keep the results on disk.

        Args:
            fn: from rows `[n]` to rows `[m]`, all with the same entries; `m` may differ, and be zero.
            dest: an empty or new folder for the results.
            chunk_size: `n` at most.
        Returns:
            A storage with the results in `dest`, whose capacity is the number of rows of this data set or of results,
            whichever is larger.
        Raises:
            FileExistsError: `dest` holds a storage.
            SpecError: there are more results than rows.
        """
        if chunk_size < 1:
            raise ValueError(message(f"{self._name}.preprocess", "chunk_size", expected=">= 1", found=chunk_size))
        storage = LazyMemmapStorage(len(self), scratch_dir=dest)
        start = 0
        for first in range(0, len(self), chunk_size):
            rows = self._rows.read(slice(first, min(first + chunk_size, len(self))))
            block = storage.check(fn(rows), f"{self._name}.preprocess")
            if start + block.count > len(self):
                problem = "there are more results than rows"
                raise SpecError(message(f"{self._name}.preprocess", problem, expected=f"<= {len(self)}"))
            if block.count:
                storage.write(slice(start, start + block.count), block)
            start += block.count
        return storage
