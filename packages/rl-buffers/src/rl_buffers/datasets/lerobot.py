"""Data sets in the format of LeRobot: Parquet for numbers, MP4 for cameras."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Unpack, final

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from rl_buffers._arguments import named_arguments
from rl_buffers._options import DatasetOptions
from rl_buffers.datasets._extras import require
from rl_buffers.datasets._frames import VideoFrames, decoded_image
from rl_buffers.datasets._source import RowSource
from rl_buffers.datasets.base import BaseDatasetExperienceReplay
from rl_specs import NestedKey, SpecError, message, missing_key

_NAME = "LeRobotExperienceReplay"
_CHUNK = 256
_EPISODE = "episode_index"
_ROW_NUMBER = "index"


@final
class LeRobotExperienceReplay(BaseDatasetExperienceReplay):
    """A data set of LeRobot on this machine, of version 2 (a file for each episode) or 3 (files of many).

    A feature `observation.state` becomes the entry `("observation", "state")`, `next.reward` `("next", "reward")`, and
    so on; `episode_index` becomes `"episode"`, and the row number is left out. Every entry below `observation` has one
    under `"next"`, from the row below. What the last step of an episode led to is not recorded: its own observation
    stands for it, and the step is truncated unless `next.done` says that it terminated. Images and videos are uint8
    `[H, W, 3]`. Texts are left out; `metadata["tasks"]` has those of the tasks.

    Args:
        path: the folder of the data set, which holds `meta/info.json`.
        batch_size: rows in a batch.
        key_map: other names for features, such as `{"observation.state": "observation"}`.
        decode_video: read videos, and images; False leaves them out.
        root: folder for the converted form; None for `~/.cache/rl_buffers/lerobot`.
        split_trajs, sampler, writer, collate_fn, transform, generator, prefetch, pin_memory: see
            `BaseDatasetExperienceReplay`.
    Raises:
        ImportError: the library pyarrow, or for images and videos av, is not installed.
        FileNotFoundError: files are missing.
        SpecError: files are not in the format.
        MissingKeyError: `key_map` names a feature that is not there.
    """

    @named_arguments
    def __init__(
        self,
        path: str | Path,
        batch_size: int | None = None,
        *,
        key_map: dict[str, NestedKey] | None = None,
        decode_video: bool = True,
        **options: Unpack[DatasetOptions],
    ) -> None:
        super().__init__(_LeRobotRows(Path(path), key_map or {}, decode_video=decode_video), batch_size, **options)

    @property
    def kind(self) -> str:
        """`"lerobot"`."""
        return "lerobot"


class _LeRobotRows(RowSource):
    """Rows of all Parquet files in their order, with the frames that belong to them."""

    def __init__(self, folder: Path, key_map: dict[str, NestedKey], *, decode_video: bool) -> None:
        self._folder = folder
        self._key_map = key_map
        self._decode_video = decode_video
        self._read_info: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """See `RowSource`."""
        parts = "/".join(self._folder.absolute().parts[-2:])
        names = "".join(f"-{key}={value}" for key, value in sorted(self._key_map.items()))
        return parts + names.replace("/", "_") + ("" if self._decode_video else "-without-video")

    def most_rows(self) -> int:
        """See `RowSource`."""
        self._info()
        parquet = require("pyarrow.parquet", component=_NAME, extra="parquet")
        return sum(parquet.read_metadata(path).num_rows for path in self._files("data", "*.parquet"))

    def blocks(self) -> Iterator[TensorDict]:
        """See `RowSource`; blocks of some rows each, the last of which waits for what follows."""
        held: dict[NestedKey, Tensor] = {}
        for columns in self._columns():
            joined = {key: torch.cat((held[key], value)) for key, value in columns.items()} if held else columns
            if len(joined["episode"]) > 1:
                yield _steps(joined, is_end=False)
            held = {key: value[-1:] for key, value in joined.items()}
        if held:
            yield _steps(held, is_end=True)

    def metadata(self) -> dict[str, Any]:
        """See `RowSource`."""
        info = self._info()
        names = ("codebase_version", "fps", "robot_type", "features")
        plain: dict[str, Any] = {key: info[key] for key in names if key in info}
        kept = {name for name, _ in self._features()}
        return {**plain, "tasks": self._tasks(), "left_out": sorted(set(info["features"]) - kept - {_EPISODE})}

    def _info(self) -> dict[str, Any]:
        if self._read_info is None:
            path = self._folder / "meta" / "info.json"
            if not path.is_file():
                fix = "Give the folder of a LeRobot data set"
                raise FileNotFoundError(message(_NAME, f"there is no {path}", fix=fix))
            info: dict[str, Any] = json.loads(path.read_text())
            version = str(info.get("codebase_version", ""))
            if not version.startswith(("v2", "v3")):
                raise SpecError(message(_NAME, "codebase_version", expected="v2 or v3", found=version or "none"))
            for name in self._key_map:
                if name not in info["features"]:
                    raise missing_key(_NAME, name, info["features"], fix="Name a feature in key_map")
            self._read_info = info
        return self._read_info

    def _features(self) -> list[tuple[str, dict[str, Any]]]:
        """Features that are read, by name."""
        frames = ("video", "image") if self._decode_video else ()
        numbers = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
        features = self._info()["features"].items()
        return [(n, f) for n, f in features if n not in (_ROW_NUMBER, _EPISODE) and f["dtype"] in (*numbers, *frames)]

    def _key(self, name: str) -> NestedKey:
        mapped = self._key_map.get(name)
        if mapped is not None:
            return mapped
        path = tuple(name.split("."))
        return path[0] if len(path) == 1 else path

    def _files(self, kind: str, pattern: str) -> list[Path]:
        files = sorted((self._folder / kind).rglob(pattern))
        if not files:
            raise FileNotFoundError(message(_NAME, f"{self._folder / kind} holds no {pattern}"))
        return files

    def _tasks(self) -> list[str]:
        lines, table = self._folder / "meta" / "tasks.jsonl", self._folder / "meta" / "tasks.parquet"
        if lines.is_file():
            return [json.loads(line)["task"] for line in lines.read_text().splitlines() if line.strip()]
        if not table.is_file():
            return []
        columns = require("pyarrow.parquet", component=_NAME, extra="parquet").read_table(table)
        texts = next((c for c in columns.column_names if c in ("task", "__index_level_0__")), columns.column_names[0])
        return [str(text) for text in columns[texts].to_pylist()]

    def _columns(self) -> Iterator[dict[NestedKey, Tensor]]:
        """Entries of rows, some at a time."""
        parquet = require("pyarrow.parquet", component=_NAME, extra="parquet")
        features = self._features()
        with ExitStack() as stack:
            videos = {
                name: stack.enter_context(closing(VideoFrames(self._videos(name), _NAME)))
                for name, feature in features
                if feature["dtype"] == "video"
            }
            for path in self._files("data", "*.parquet"):
                with parquet.ParquetFile(path) as file:
                    for batch in file.iter_batches(_CHUNK):
                        yield self._entries(batch, features, videos, path)

    def _videos(self, name: str) -> list[Path]:
        return [path for path in self._files("videos", "*.mp4") if name in path.parts]

    def _entries(
        self, batch: Any, features: list[tuple[str, dict[str, Any]]], videos: dict[str, VideoFrames], path: Path
    ) -> dict[NestedKey, Tensor]:
        names = batch.schema.names
        entries: dict[NestedKey, Tensor] = {}
        for name, feature in [*features, (_EPISODE, {"dtype": "int64", "shape": [1]})]:
            if name in videos:
                values = videos[name].take(batch.num_rows)
            elif name not in names:
                raise missing_key(f"{_NAME}: {path}", name, names, fix="Fetch the whole data set")
            elif feature["dtype"] == "image":
                values = np.stack([decoded_image(cell["bytes"], _NAME) for cell in batch[name].to_pylist()])
            else:
                values = _numbers(batch[name], feature)
            entries[self._key(name) if name != _EPISODE else "episode"] = torch.from_numpy(values)
        return entries


def _numbers(column: Any, feature: dict[str, Any]) -> np.ndarray[Any, Any]:
    """A column as an array `[n, *shape]`."""
    types = require("pyarrow.types", component=_NAME, extra="parquet")
    values = column
    while types.is_nested(values.type):
        values = values.flatten()
    array = values.to_numpy(zero_copy_only=False).astype(feature["dtype"])
    shaped: np.ndarray[Any, Any] = array.reshape(len(column), *feature["shape"]).copy()
    return shaped


def _steps(columns: dict[NestedKey, Tensor], *, is_end: bool) -> TensorDict:
    """Steps of all rows but the last, or of all where nothing follows (`is_end`)."""
    count = len(columns["episode"]) - (0 if is_end else 1)
    episode = columns["episode"].reshape(-1)
    ends = torch.ones(count, dtype=torch.bool)
    if not is_end:
        ends = episode[1:] != episode[:-1]
    data = TensorDict({}, batch_size=[count])
    for key, value in columns.items():
        path = (key,) if isinstance(key, str) else tuple(key)
        data[key] = value[:count]
        if path[0] == "observation":
            own = value[:count]
            below = own if is_end else value[1:]
            data["next", *path] = torch.where(ends.reshape(-1, *[1] * (own.ndim - 1)), own, below)
    data["episode"] = episode[:count]
    done = data.get(("next", "done"), None)
    terminated = torch.zeros(count, 1, dtype=torch.bool) if done is None else done.reshape(count, 1).bool()
    truncated = ends.view(count, 1) & ~terminated
    for name, flag in (("terminated", terminated), ("truncated", truncated), ("done", terminated | truncated)):
        data["next", name] = flag
        data[name] = torch.zeros(count, 1, dtype=torch.bool)
    return data
