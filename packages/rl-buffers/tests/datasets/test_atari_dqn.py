"""Replay logs as Dopamine writes them."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl_buffers.datasets import AtariDQNExperienceReplay
from rl_buffers.datasets import atari_dqn as module
from rl_specs import SpecError


def _save(folder: Path, entry: str, number: int, array: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / f"$store$_{entry}_ckpt.{number}.gz", "wb") as file:
        np.save(file, array, allow_pickle=False)


def _logs(folder: Path, ends: list[list[int]]) -> Path:
    """Checkpoints with these terminal flags; frame and action of row n are n."""
    for number, flags in enumerate(ends):
        count = len(flags)
        frames = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None] + 10 * number, (count, 84, 84))
        _save(folder, "observation", number, np.ascontiguousarray(frames))
        _save(folder, "action", number, np.arange(count, dtype=np.int32))
        _save(folder, "reward", number, np.arange(count, dtype=np.float32))
        _save(folder, "terminal", number, np.array(flags, dtype=np.uint8))
    return folder


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_frames_of_checkpoints(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The successor is the frame below, zeros after an end; the last row of a checkpoint is left out. In any chunks."""
    monkeypatch.setattr(module, "_CHUNK", chunk)
    folder = _logs(tmp_path / "Pong" / "1" / "replay_logs", [[0, 1, 0, 0, 0], [0, 0, 1]])
    rows = AtariDQNExperienceReplay(folder, root=tmp_path / "converted")[:]
    assert rows["observation"].shape == (6, 84, 84)
    assert rows["observation"][:, 0, 0].tolist() == [0, 1, 2, 3, 10, 11]
    assert rows["next", "observation"][:, 0, 0].tolist() == [1, 0, 3, 4, 11, 12]
    assert rows["next", "terminated"][:, 0].tolist() == [False, True, False, False, False, False]
    assert rows["episode"].tolist() == [0, 0, 1, 1, 2, 2]
    assert rows["action"].tolist() == [0, 1, 2, 3, 0, 1]


def test_some_checkpoints(tmp_path: Path) -> None:
    """Chosen ones are read, and converted beside those of another choice."""
    folder = _logs(tmp_path / "Pong" / "1" / "replay_logs", [[0, 0], [0, 0, 0]])
    assert len(AtariDQNExperienceReplay(folder, root=tmp_path / "c", checkpoints=[1])) == 2
    assert len(AtariDQNExperienceReplay(folder, root=tmp_path / "c")) == 3


def test_damaged_logs_are_refused(tmp_path: Path) -> None:
    """Parts that are missing, of another length, or cut off are named."""
    root = tmp_path / "converted"
    with pytest.raises(FileNotFoundError, match="no checkpoints"):
        AtariDQNExperienceReplay(tmp_path / "none", root=root)
    folder = _logs(tmp_path / "a", [[0, 0, 0]])
    _save(folder, "action", 0, np.zeros(2, np.int32))
    with pytest.raises(SpecError, match="differ in length"):
        AtariDQNExperienceReplay(folder, root=root)
    (folder / "$store$_action_ckpt.0.gz").unlink()
    with pytest.raises(FileNotFoundError, match="action_ckpt"):
        AtariDQNExperienceReplay(folder, root=root)
    path = _logs(tmp_path / "b", [[0, 0, 0]]) / "$store$_observation_ckpt.0.gz"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(SpecError, match=r"damaged|ends before|no array"):
        AtariDQNExperienceReplay(tmp_path / "b", root=root)
