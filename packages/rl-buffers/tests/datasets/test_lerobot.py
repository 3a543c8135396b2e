"""Data sets of LeRobot, written here file by file."""

import io
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from rl_buffers.datasets import LeRobotExperienceReplay
from rl_buffers.datasets import lerobot as module
from rl_specs import MissingKeyError, SpecError

LENGTHS = [3, 2, 4]


def _features(**more: Any) -> dict[str, Any]:
    def number(dtype: str, *shape: int) -> dict[str, Any]:
        return {"dtype": dtype, "shape": list(shape), "names": None}

    return {
        "observation.state": number("float32", 2),
        "action": number("float32", 3),
        "next.reward": number("float32", 1),
        "next.done": number("bool", 1),
        "timestamp": number("float32", 1),
        "frame_index": number("int64", 1),
        "episode_index": number("int64", 1),
        "index": number("int64", 1),
        "task_index": number("int64", 1),
        "note": {"dtype": "string", "shape": [1], "names": None},
        **more,
    }


def _table(episodes: list[int], first: int, extra: dict[str, list[Any]]) -> Any:
    episode = [number for number in episodes for _ in range(LENGTHS[number])]
    frame = [step for number in episodes for step in range(LENGTHS[number])]
    rows = range(first, first + len(episode))
    return pa.table(
        {
            "observation.state": pa.array([[float(row), -float(row)] for row in rows], pa.list_(pa.float32())),
            "action": pa.array([[float(row)] * 3 for row in rows], pa.list_(pa.float32(), 3)),
            "next.reward": pa.array([float(step) for step in frame], pa.float32()),
            "next.done": [number == 1 and step == LENGTHS[1] - 1 for number, step in zip(episode, frame, strict=True)],
            "timestamp": pa.array([step / 10 for step in frame], pa.float32()),
            "frame_index": frame,
            "episode_index": episode,
            "index": list(rows),
            "task_index": [0] * len(episode),
            "note": ["x"] * len(episode),
            **{name: values[first : first + len(episode)] for name, values in extra.items()},
        }
    )


def _write(
    folder: Path, version: str, *, extra: dict[str, list[Any]] | None = None, features: dict[str, Any] | None = None
) -> Path:
    """Three episodes of 3, 2 and 4 steps, the second of which ends as done."""
    (folder / "meta").mkdir(parents=True)
    info = {"codebase_version": version, "fps": 10, "robot_type": "arm", "features": _features(**features or {})}
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    chunk = folder / "data" / "chunk-000"
    chunk.mkdir(parents=True)
    if version.startswith("v2"):
        (folder / "meta" / "tasks.jsonl").write_text(json.dumps({"task_index": 0, "task": "push"}) + "\n")
        first = 0
        for number, length in enumerate(LENGTHS):
            pq.write_table(_table([number], first, extra or {}), chunk / f"episode_{number:06d}.parquet")
            first += length
    else:
        pq.write_table(pa.table({"task_index": [0], "task": ["push"]}), folder / "meta" / "tasks.parquet")
        pq.write_table(_table([0, 1], 0, extra or {}), chunk / "file-000.parquet")
        pq.write_table(_table([2], 5, extra or {}), chunk / "file-001.parquet")
    return folder


@pytest.mark.parametrize("chunk", [1, 2, 100])
@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_rows_of_both_versions(tmp_path: Path, version: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features become entries, successors come from the row below and never from another episode. In any chunks."""
    monkeypatch.setattr(module, "_CHUNK", chunk)
    buffer = LeRobotExperienceReplay(_write(tmp_path / "arm", version), root=tmp_path / "converted")
    rows = buffer[:]
    assert rows["observation", "state"][:, 0].tolist() == list(range(9))
    assert rows["next", "observation", "state"][:, 0].tolist() == [1, 2, 2, 4, 4, 6, 7, 8, 8]
    assert rows["action"].shape == (9, 3)
    assert rows["episode"].tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert rows["next", "terminated"][:, 0].nonzero().flatten().tolist() == [4]
    assert rows["next", "truncated"][:, 0].nonzero().flatten().tolist() == [2, 8]
    assert rows["next", "reward"][:, 0].tolist() == [0, 1, 2, 0, 1, 0, 1, 2, 3]
    assert buffer.metadata["tasks"] == ["push"]
    assert buffer.metadata["left_out"] == ["index", "note"]


def test_names_can_be_changed(tmp_path: Path) -> None:
    """`key_map` renames a feature, and its successor goes with it; a name that is not there is an error."""
    folder = _write(tmp_path / "arm", "v2.1")
    rows = LeRobotExperienceReplay(folder, root=tmp_path / "c", key_map={"observation.state": "observation"})[:]
    assert rows["next", "observation"][:, 0].tolist() == [1, 2, 2, 4, 4, 6, 7, 8, 8]
    with pytest.raises(MissingKeyError, match=r"observation\.stat"):
        LeRobotExperienceReplay(folder, root=tmp_path / "c", key_map={"observation.stat": "observation"})


def _video(path: Path, frames: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.bit_rate = 4_000_000
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_videos_are_decoded_frame_by_frame(tmp_path: Path, version: str) -> None:
    """The frame of a row is the one recorded for it, whatever files episodes share; a video too short is an error."""
    key = "observation.images.top"
    feature = {"dtype": "video", "shape": [48, 64, 3], "names": ["height", "width", "channel"]}
    folder = _write(tmp_path / "arm", version, features={key: feature})
    frames = np.broadcast_to((np.arange(9, dtype=np.uint8) * 20 + 30)[:, None, None, None], (9, 48, 64, 3)).copy()
    if version == "v2.1":
        starts = np.cumsum([0, *LENGTHS])
        for number in range(3):
            path = folder / "videos" / "chunk-000" / key / f"episode_{number:06d}.mp4"
            _video(path, frames[starts[number] : starts[number + 1]])
    else:
        _video(folder / "videos" / key / "chunk-000" / "file-000.mp4", frames[:4])
        _video(folder / "videos" / key / "chunk-000" / "file-001.mp4", frames[4:])
    rows = LeRobotExperienceReplay(folder, root=tmp_path / "converted")[:]
    found = rows["observation", "images", "top"]
    assert found.dtype == torch.uint8
    assert found.shape == (9, 48, 64, 3)
    assert (found.float().mean((1, 2, 3)) - torch.arange(9) * 20 - 30).abs().max() < 4
    without = LeRobotExperienceReplay(folder, root=tmp_path / "converted", decode_video=False)
    assert set(without[:]["observation"].keys()) == {"state"}
    last = sorted(folder.rglob("*.mp4"))[-1]
    _video(last, frames[:1])
    with pytest.raises(SpecError, match="videos end before"):
        LeRobotExperienceReplay(folder, root=tmp_path / "other")


def test_images_in_tables_are_decoded(tmp_path: Path) -> None:
    """An image kept as the bytes of a file is exact."""
    images = np.random.default_rng(0).integers(0, 255, (9, 8, 6, 3), dtype=np.uint8)
    cells = []
    for image in images:
        data = io.BytesIO()
        with av.open(data, "w", format="image2pipe") as container:
            stream = container.add_stream("png")
            stream.width, stream.height, stream.pix_fmt = 6, 8, "rgb24"
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            for packet in [*stream.encode(frame), *stream.encode()]:
                container.mux(packet)
        cells.append({"bytes": data.getvalue(), "path": None})
    feature = {"dtype": "image", "shape": [8, 6, 3], "names": ["height", "width", "channel"]}
    folder = _write(
        tmp_path / "arm", "v2.1", extra={"observation.image": cells}, features={"observation.image": feature}
    )
    rows = LeRobotExperienceReplay(folder, root=tmp_path / "converted")[:]
    assert np.array_equal(rows["observation", "image"].numpy(), images)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    """A folder without description, or of another version, is named."""
    with pytest.raises(FileNotFoundError, match=r"info\.json"):
        LeRobotExperienceReplay(tmp_path / "none", root=tmp_path / "c")
    with pytest.raises(SpecError, match=r"codebase_version.*v1"):
        LeRobotExperienceReplay(_write(tmp_path / "old", "v1.6"), root=tmp_path / "c")
