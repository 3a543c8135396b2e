"""Recorders: collected steps to data sets that others can read. A collector's batches go into `extend`."""

import json
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase

from rl_buffers.datasets._extras import require
from rl_specs import NestedKey, ShapeError, SpecError, message, missing_key

Array = np.ndarray[Any, Any]


class EpisodeRecorder(ABC):
    """Takes batches `[*B, T]` of steps as a collector gives them, and writes each trajectory when it is complete.

    Trajectories go on from batch to batch in the same row of `B`. `close` writes those that are open, truncated.

    Args:
        observation_key, action_key, reward_key: entries of the steps; the reward is one under `"next"`.
    """

    def __init__(self, *, observation_key: NestedKey, action_key: NestedKey, reward_key: NestedKey) -> None:
        self._observation_key = observation_key
        self._action_key = action_key
        self._reward_key = reward_key
        self._open: list[list[TensorDictBase]] = []
        self._is_closed = False
        self._written = 0

    @property
    def episodes(self) -> int:
        """How many trajectories were written."""
        return self._written

    def extend(self, steps: TensorDictBase) -> None:
        """Take the steps that follow those of the last call.

        Args:
            steps: `[*B, T]`, time last; copied.
        Raises:
            MissingKeyError: an entry is missing.
            ShapeError: no dimension of time, or another `B` than before.
            RuntimeError: the recorder is closed.
        """
        name = type(self).__name__
        if self._is_closed:
            raise RuntimeError(message(name, "it is closed", fix="Make another one, under another name"))
        if not steps.batch_size:
            raise ShapeError(message(name, "the steps have no dimension of time", expected="[*B, T]", found="[]"))
        kept = self._kept(steps)
        rows = kept.reshape(-1, kept.batch_size[-1])
        if not self._open:
            self._open = [[] for _ in range(len(rows))]
        if len(rows) != len(self._open):
            raise ShapeError(message(name, "rows of the batch", expected=len(self._open), found=len(rows)))
        for parts, row in zip(self._open, rows.unbind(0), strict=True):
            self._take(parts, row)

    def close(self) -> None:
        """Write the trajectories that are open, and finish the data set. Further calls do nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        for parts in self._open:
            if parts:
                episode = TensorDict.cat(parts)
                episode["next", "truncated"][-1] = True
                self._finish(episode)
        self._open = []
        self._end()

    @abstractmethod
    def _write(self, episode: TensorDictBase) -> None:
        """Write a complete trajectory `[T]`."""

    @abstractmethod
    def _end(self) -> None:
        """No trajectory follows."""

    def _kept(self, steps: TensorDictBase) -> TensorDict:
        keys: list[tuple[NestedKey, NestedKey]] = [
            ("observation", self._observation_key),
            ("action", self._action_key),
            (("next", "observation"), _below_next(self._observation_key)),
            (("next", "reward"), _below_next(self._reward_key)),
            (("next", "terminated"), ("next", "terminated")),
            (("next", "truncated"), ("next", "truncated")),
        ]
        found: TensorDict = TensorDict({}, batch_size=steps.batch_size)
        for name, key in keys:
            value = steps.get(key, None)
            if value is None:
                has = steps.keys(include_nested=True, leaves_only=True)
                fix = "Record steps as a collector or a rollout gives them, or name the entries in the constructor"
                raise missing_key(type(self).__name__, key, has, fix=fix)
            found[name] = value.detach().to("cpu", copy=True)
        return found

    def _take(self, parts: list[TensorDictBase], row: TensorDictBase) -> None:
        done = (row["next", "terminated"] | row["next", "truncated"]).reshape(len(row), -1).any(-1)
        start = 0
        for end in done.nonzero().flatten().tolist():
            self._finish(TensorDict.cat([*parts, row[start : end + 1]]))
            parts.clear()
            start = end + 1
        if start < len(row):
            parts.append(row[start:])

    def _finish(self, episode: TensorDictBase) -> None:
        self._write(episode)
        self._written += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _below_next(key: NestedKey) -> NestedKey:
    path = (key,) if isinstance(key, str) else tuple(key)
    return key if path[0] == "next" else ("next", *path)


def _joined(first: Any, second: Any) -> Any:
    """Two parts of an entry, one after the other."""
    return TensorDict.cat([first, second]) if isinstance(first, TensorDictBase) else torch.cat((first, second))


def _arrays(value: Any) -> Any:
    """Tensors of any nesting as arrays."""
    return {key: _arrays(item) for key, item in value.items()} if isinstance(value, TensorDictBase) else value.numpy()


@final
class MinariRecorder(EpisodeRecorder):
    """Writes a data set of Minari, some episodes at a time.

    Args:
        dataset_id: its name, such as `"cartpole/random-v0"`; there must be none of that name.
        env: the Gymnasium environment, or its name, from which spaces are taken; or give both spaces.
        observation_space, action_space: spaces of the data.
        algorithm_name, author, author_email, code_permalink, description: what the data set says of itself.
        episodes_at_once: how many episodes are held in memory.
        observation_key, action_key, reward_key: see `EpisodeRecorder`.
    Raises:
        ImportError: the library minari is not installed.
        ValueError: neither an environment nor spaces.
    """

    def __init__(
        self,
        dataset_id: str,
        *,
        env: Any = None,
        observation_space: Any = None,
        action_space: Any = None,
        algorithm_name: str | None = None,
        author: str | None = None,
        author_email: str | None = None,
        code_permalink: str | None = None,
        description: str | None = None,
        episodes_at_once: int = 64,
        observation_key: NestedKey = "observation",
        action_key: NestedKey = "action",
        reward_key: NestedKey = "reward",
    ) -> None:
        super().__init__(observation_key=observation_key, action_key=action_key, reward_key=reward_key)
        if env is None and (observation_space is None or action_space is None):
            fix = "Pass env='CartPole-v1', or observation_space and action_space"
            raise ValueError(message("MinariRecorder", "the spaces of the data are not known", fix=fix))
        self._minari = require("minari", component="MinariRecorder", extra="minari")
        self._collector = require("minari.data_collector", component="MinariRecorder", extra="minari")
        self._dataset_id = dataset_id
        self._settings = {
            "env": env,
            "observation_space": observation_space,
            "action_space": action_space,
            "algorithm_name": algorithm_name,
            "author": author,
            "author_email": author_email,
            "code_permalink": code_permalink,
            "description": description,
        }
        self._episodes_at_once = episodes_at_once
        self._held: list[Any] = []
        self._dataset: Any = None

    @property
    def dataset(self) -> Any:
        """The `minari.MinariDataset`; None as long as nothing is written."""
        return self._dataset

    def _write(self, episode: TensorDictBase) -> None:
        last = episode["next", "observation"][-1:]
        observation = _joined(episode["observation"], last)
        self._held.append(
            self._collector.EpisodeBuffer(
                id=self.episodes,
                observations=_arrays(observation),
                actions=_arrays(episode["action"]),
                rewards=episode["next", "reward"].reshape(len(episode)).double().tolist(),
                terminations=episode["next", "terminated"].reshape(len(episode)).tolist(),
                truncations=episode["next", "truncated"].reshape(len(episode)).tolist(),
            )
        )
        if len(self._held) >= self._episodes_at_once:
            self._flush()

    def _end(self) -> None:
        self._flush()

    def _flush(self) -> None:
        held, self._held = self._held, []
        if not held:
            return
        if self._dataset is None:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".* is (set to )?None")  # descriptions that are not given
                self._dataset = self._minari.create_dataset_from_buffers(self._dataset_id, held, **self._settings)
        else:
            self._dataset.update_dataset_from_buffer(held)


@final
class HDF5Recorder(EpisodeRecorder):
    """Writes one HDF5 file in the layout that `D4RLExperienceReplay` reads, with `next_observations` and `timeouts`.

    The file has a name of its own, `path` with `.partial`, until `close`.

    Args:
        path: the file; there must be none.
        observation_key, action_key, reward_key: see `EpisodeRecorder`; one tensor each.
    Raises:
        ImportError: the library h5py is not installed.
        FileExistsError: there is such a file.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        observation_key: NestedKey = "observation",
        action_key: NestedKey = "action",
        reward_key: NestedKey = "reward",
    ) -> None:
        super().__init__(observation_key=observation_key, action_key=action_key, reward_key=reward_key)
        h5py = require("h5py", component="HDF5Recorder", extra="hdf5")
        self._path = Path(path)
        if self._path.exists():
            raise FileExistsError(message("HDF5Recorder", f"{self._path} is there already", fix="Choose another name"))
        self._partial = self._path.with_name(self._path.name + ".partial")
        self._file = h5py.File(self._partial, "w")

    def _write(self, episode: TensorDictBase) -> None:
        columns = {
            "observations": episode["observation"],
            "actions": episode["action"],
            "rewards": episode["next", "reward"].reshape(len(episode)),
            "terminals": episode["next", "terminated"].reshape(len(episode)),
            "timeouts": (episode["next", "truncated"] & ~episode["next", "terminated"]).reshape(len(episode)),
            "next_observations": episode["next", "observation"],
        }
        for name, value in columns.items():
            if not isinstance(value, torch.Tensor):
                problem = f"{name} has entries of its own, and the layout holds one array"
                raise SpecError(message("HDF5Recorder", problem, fix="Name the entry, or use MinariRecorder"))
            array = value.numpy()
            if name not in self._file:
                self._file.create_dataset(
                    name, (0, *array.shape[1:]), array.dtype, maxshape=(None, *array.shape[1:]), chunks=True
                )
            target = self._file[name]
            target.resize(len(target) + len(array), 0)
            target[-len(array) :] = array

    def _end(self) -> None:
        self._file.close()
        self._partial.replace(self._path)


@final
class ParquetRecorder(EpisodeRecorder):
    """Writes Parquet files, one for each episode, in the layout that `LeRobotExperienceReplay` reads (version 2.1).

    Args:
        path: the folder; new or empty.
        fps: steps a second.
        observation_key, action_key, reward_key: see `EpisodeRecorder`.
    Raises:
        ImportError: the library pyarrow is not installed.
        FileExistsError: the folder holds something.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fps: float = 1.0,
        observation_key: NestedKey = "observation",
        action_key: NestedKey = "action",
        reward_key: NestedKey = "reward",
    ) -> None:
        super().__init__(observation_key=observation_key, action_key=action_key, reward_key=reward_key)
        self._arrow = require("pyarrow", component="ParquetRecorder", extra="parquet")
        self._parquet = require("pyarrow.parquet", component="ParquetRecorder", extra="parquet")
        self._folder = Path(path)
        if self._folder.exists() and any(self._folder.iterdir()):
            problem = f"{self._folder} is not empty"
            raise FileExistsError(message("ParquetRecorder", problem, fix="Choose another folder"))
        (self._folder / "meta").mkdir(parents=True)
        self._fps = fps
        self._rows = 0
        self._features: dict[str, dict[str, Any]] = {}

    def _write(self, episode: TensorDictBase) -> None:
        count, number = len(episode), self.episodes
        columns = {
            **_named("observation", episode["observation"]),
            **_named("action", episode["action"]),
            "next.reward": episode["next", "reward"].reshape(count, 1).numpy(),
            "next.done": episode["next", "terminated"].reshape(count, 1).numpy(),
            "timestamp": (np.arange(count, dtype=np.float32) / self._fps).reshape(count, 1),
            "frame_index": np.arange(count).reshape(count, 1),
            "episode_index": np.full((count, 1), number),
            "index": np.arange(self._rows, self._rows + count).reshape(count, 1),
            "task_index": np.zeros((count, 1), dtype=np.int64),
        }
        self._features = self._features or {
            name: {"dtype": str(array.dtype), "shape": list(array.shape[1:]) or [1], "names": None}
            for name, array in columns.items()
        }
        table = self._arrow.table({name: self._column(array) for name, array in columns.items()})
        folder = self._folder / "data" / f"chunk-{number // 1000:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        self._parquet.write_table(table, folder / f"episode_{number:06d}.parquet")
        with (self._folder / "meta" / "episodes.jsonl").open("a") as file:
            file.write(json.dumps({"episode_index": number, "tasks": [], "length": count}) + "\n")
        self._rows += count

    def _end(self) -> None:
        info = {
            "codebase_version": "v2.1",
            "total_episodes": self.episodes,
            "total_frames": self._rows,
            "chunks_size": 1000,
            "fps": self._fps,
            "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
            "features": self._features,
        }
        (self._folder / "meta" / "info.json").write_text(json.dumps(info, indent=1))

    def _column(self, array: Array) -> Any:
        flat = array.reshape(len(array), -1)
        if flat.shape[1] == 1:
            return self._arrow.array(flat[:, 0])
        return self._arrow.FixedSizeListArray.from_arrays(self._arrow.array(flat.reshape(-1)), flat.shape[1])


def _named(name: str, value: Any) -> dict[str, Array]:
    """Arrays under the names of their paths, joined by dots."""
    if not isinstance(value, TensorDictBase):
        return {name: value.numpy()}
    return {k: array for key, item in value.items() for k, array in _named(f"{name}.{key}", item).items()}
