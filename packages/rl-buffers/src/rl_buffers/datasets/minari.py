"""Data sets in the format of Minari."""

from collections.abc import Iterator
from typing import Any, Unpack, final

import numpy as np
from tensordict import TensorDict

from rl_buffers._arguments import named_arguments
from rl_buffers._options import DatasetOptions
from rl_buffers.datasets._extras import require
from rl_buffers.datasets._rows import nested_tensors, sliced, step_rows
from rl_buffers.datasets._source import RowSource
from rl_buffers.datasets.base import BaseDatasetExperienceReplay

_NAME = "MinariExperienceReplay"


@final
class MinariExperienceReplay(BaseDatasetExperienceReplay):
    """A data set of Minari (https://minari.farama.org), read episode by episode with that library.

    Observations that are dicts or tuples are nested under `"observation"`. Infos of numbers that are there for each
    observation become `("info", ...)` and `("next", "info", ...)`; `metadata["left_out"]` names the others.

    Args:
        dataset_id: name of the data set, such as `"mujoco/hopper/medium-v0"`.
        batch_size: rows in a batch.
        root: folder for the converted form; None for `~/.cache/rl_buffers/minari`.
        download: fetch the data set from Minari's server if it is not on this machine.
        split_trajs, sampler, writer, collate_fn, transform, generator, prefetch, pin_memory: see
            `BaseDatasetExperienceReplay`.
    Raises:
        ImportError: the library minari is not installed.
        FileNotFoundError: the data set is not on this machine, and is not to be downloaded.
    """

    @named_arguments
    def __init__(
        self,
        dataset_id: str,
        batch_size: int | None = None,
        *,
        download: bool = False,
        **options: Unpack[DatasetOptions],
    ) -> None:
        super().__init__(_MinariRows(dataset_id, download=download), batch_size, **options)

    @property
    def kind(self) -> str:
        """`"minari"`."""
        return "minari"

    @staticmethod
    def available_datasets() -> list[str]:
        """Data sets of Minari on this machine."""
        return sorted(require("minari", component=_NAME, extra="minari").list_local_datasets())


class _MinariRows(RowSource):
    """Episodes of a data set, which is looked for at the first question about it."""

    def __init__(self, dataset_id: str, *, download: bool) -> None:
        self._dataset_id = dataset_id
        self._download = download
        self._loaded: Any = None
        self._left_out: set[str] = set()

    @property
    def name(self) -> str:
        """See `RowSource`."""
        return self._dataset_id

    def most_rows(self) -> int:
        """See `RowSource`."""
        return int(self._dataset().total_steps)

    def blocks(self) -> Iterator[TensorDict]:
        """See `RowSource`; one block for each episode."""
        for episode in self._dataset().iterate_episodes():
            observation = nested_tensors(episode.observations, _NAME, ("observations",))
            count = len(episode.rewards)
            rows = step_rows(
                _NAME,
                observation=sliced(observation, slice(0, count)),
                following=sliced(observation, slice(1, count + 1)),
                action=nested_tensors(episode.actions, _NAME, ("actions",)),
                reward=episode.rewards,
                terminated=episode.terminations,
                truncated=episode.truncations,
                episode=int(episode.id),
            )
            infos = self._infos(episode.infos or {}, count, ())
            if infos:
                rows["info"] = sliced(infos, slice(0, count))
                rows["next", "info"] = sliced(infos, slice(1, count + 1))
            yield rows

    def metadata(self) -> dict[str, Any]:
        """See `RowSource`."""
        dataset = self._dataset()
        spec = dataset.env_spec
        return {
            "dataset_id": self._dataset_id,
            "total_episodes": int(dataset.total_episodes),
            "total_steps": int(dataset.total_steps),
            "observation_space": repr(dataset.observation_space),
            "action_space": repr(dataset.action_space),
            "env_id": None if spec is None else spec.id,
            "left_out": sorted(self._left_out),
        }

    def _dataset(self) -> Any:
        if self._loaded is None:
            minari = require("minari", component=_NAME, extra="minari")
            self._loaded = minari.load_dataset(self._dataset_id, download=self._download)
        return self._loaded

    def _infos(self, infos: dict[str, Any], count: int, path: tuple[str, ...]) -> dict[str, Any]:
        """Those that hold numbers for each observation."""
        found: dict[str, Any] = {}
        for key, value in infos.items():
            if isinstance(value, dict):
                inner = self._infos(value, count, (*path, key))
                if inner:
                    found[key] = inner
                continue
            array = np.asarray(value)
            if array.dtype.kind in "biuf" and len(array) == count + 1:
                found[key] = nested_tensors(array, _NAME, (*path, key))
            else:
                self._left_out.add(".".join((*path, key)))
        return found
