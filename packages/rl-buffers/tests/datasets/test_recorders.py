"""Recorded steps, read back."""

from pathlib import Path
from typing import Any

import minari
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from rl_buffers.datasets import (
    D4RLExperienceReplay,
    EpisodeRecorder,
    HDF5Recorder,
    LeRobotExperienceReplay,
    MinariExperienceReplay,
    MinariRecorder,
    ParquetRecorder,
)
from rl_specs import MissingKeyError, ShapeError


def _steps(lengths: list[list[int]]) -> TensorDict:
    """Steps `[rows, T]`: each row is a sequence of episodes of these lengths, the last of which may be open.

    A negative length is an open episode; odd ones terminate, even ones are truncated. Observations are unique.
    """
    rows = []
    for row, episodes in enumerate(lengths):
        parts = []
        for number, length in enumerate(episodes):
            count = abs(length)
            value = 10_000.0 * row + 100.0 * number + torch.arange(count + 1)
            flags = torch.zeros(count, 1, dtype=torch.bool)
            terminated, truncated = flags.clone(), flags.clone()
            if length > 0:
                (terminated if length % 2 else truncated)[-1] = True
            following = {
                "observation": value[1:, None].expand(-1, 2).clone(),
                "reward": value[:-1, None] / 2,
                "terminated": terminated,
                "truncated": truncated,
                "done": terminated | truncated,
            }
            root = {"observation": value[:-1, None].expand(-1, 2).clone(), "action": value[:-1, None] + 0.5}
            parts.append(TensorDict({**root, "next": following}, batch_size=[count]))
        rows.append(TensorDict.cat(parts))
    steps: TensorDict = TensorDict.stack(rows)
    return steps


LENGTHS = [[3, 4, -2], [5, 1, -3]]
ENDS = {"terminated": [3, 5, 1], "truncated": [4, 2, 3]}


def _recorded(recorder: EpisodeRecorder, steps: TensorDict, batch: int) -> None:
    with recorder:
        for start in range(0, steps.shape[-1], batch):
            recorder.extend(steps[..., start : start + batch])


def _episodes(rows: Any) -> dict[float, Any]:
    """Rows of each episode, by the first observation."""
    found = {}
    for number in rows["episode"].unique().tolist():
        episode = rows[rows["episode"] == number]
        found[float(episode["observation"][0, 0])] = episode
    return found


def _assert_same(rows: Any, steps: TensorDict) -> None:
    """Every episode is there, whole and in order; those that were open are truncated."""
    episodes = _episodes(rows)
    assert sorted(episodes) == [0.0, 100.0, 200.0, 10_000.0, 10_100.0, 10_200.0]
    for first, episode in episodes.items():
        assert episode["observation"][:, 0].tolist() == [first + step for step in range(len(episode))]
        assert torch.equal(episode["next", "observation"], episode["observation"] + 1)
        assert torch.equal(episode["next", "reward"], episode["observation"][:, :1] / 2)
        assert torch.equal(episode["action"].reshape(-1), episode["observation"][:, 0] + 0.5)
        assert not bool(episode["next", "done"][:-1].any())
    ends = {
        name: sorted(len(e) for e in episodes.values() if bool(e["next", name][-1]))
        for name in ("terminated", "truncated")
    }
    assert ends == {name: sorted(lengths) for name, lengths in ENDS.items()}


@pytest.mark.parametrize("batch", [1, 4, 9])
def test_minari_round_trip(tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded batch by batch is read back by Minari, and here."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    space = spaces.Box(-1e6, 1e6, (2,))
    recorder = MinariRecorder(
        "test/round-v0", observation_space=space, action_space=spaces.Box(-1e6, 1e6, (1,)), episodes_at_once=2
    )
    _recorded(recorder, _steps(LENGTHS), batch)
    assert minari.load_dataset("test/round-v0").total_episodes == recorder.episodes == 6
    _assert_same(MinariExperienceReplay("test/round-v0", root=tmp_path / "converted")[:], _steps(LENGTHS))


def test_hdf5_round_trip(tmp_path: Path) -> None:
    """The same through an HDF5 file, which has its name only when it is complete."""
    recorder = HDF5Recorder(tmp_path / "round.hdf5")
    recorder.extend(_steps(LENGTHS))
    assert not (tmp_path / "round.hdf5").exists()
    recorder.close()
    recorder.close()
    _assert_same(D4RLExperienceReplay(tmp_path / "round.hdf5", root=tmp_path / "converted")[:], _steps(LENGTHS))
    with pytest.raises(FileExistsError):
        HDF5Recorder(tmp_path / "round.hdf5")
    with pytest.raises(RuntimeError, match="closed"):
        recorder.extend(_steps(LENGTHS))


def test_parquet_round_trip(tmp_path: Path) -> None:
    """The same through Parquet; the successor of an episode's last step is not part of that format."""
    _recorded(ParquetRecorder(tmp_path / "round"), _steps(LENGTHS), 4)
    rows = LeRobotExperienceReplay(tmp_path / "round", root=tmp_path / "converted")[:]
    inner = ~rows["next", "done"][:, 0]
    rows["next", "observation"][~inner] = rows["observation"][~inner] + 1
    _assert_same(rows, _steps(LENGTHS))


@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=1, max_size=3), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_no_step_is_lost_or_doubled(lengths: list[list[int]], batch: int) -> None:
    """Whatever the lengths and the batches, each step is written once, in its episode."""

    class Kept(EpisodeRecorder):
        """Keeps episodes in a list."""

        def __init__(self) -> None:
            super().__init__(observation_key="observation", action_key="action", reward_key="reward")
            self.found: list[Any] = []

        def _write(self, episode: Any) -> None:
            self.found.append(episode)

        def _end(self) -> None:
            self.found.sort(key=lambda episode: float(episode["observation"][0, 0]))

    total = max(sum(row) for row in lengths)
    padded = [[*row, *([-(total - sum(row))] if sum(row) < total else [])] for row in lengths]
    recorder = Kept()
    _recorded(recorder, _steps(padded), batch)
    assert [len(episode) for episode in recorder.found] == [abs(length) for row in padded for length in row]
    written = torch.cat([episode["observation"][:, 0] for episode in recorder.found])
    assert torch.equal(written, _steps(padded)["observation"][..., 0].reshape(-1))


def test_wrong_steps_are_refused(tmp_path: Path) -> None:
    """Steps without an entry, without time, or of another number of rows are refused by name."""
    recorder = HDF5Recorder(tmp_path / "a.hdf5")
    steps = _steps(LENGTHS)
    with pytest.raises(MissingKeyError, match='"action" missing'):
        recorder.extend(steps.exclude("action"))
    with pytest.raises(ShapeError, match="no dimension of time"):
        recorder.extend(steps[0, 0])
    recorder.extend(steps)
    with pytest.raises(ShapeError, match="rows of the batch"):
        recorder.extend(steps[:1])
    recorder.close()
    with pytest.raises(ValueError, match="spaces"):
        MinariRecorder("a/b-v0")
