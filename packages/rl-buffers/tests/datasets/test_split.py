"""Data sets whose rows are whole trajectories."""

import gzip
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest
import torch
from tensordict import TensorDict

from rl_buffers import SamplerWithoutReplacement
from rl_buffers.datasets import (
    AtariDQNExperienceReplay,
    BaseDatasetExperienceReplay,
    D4RLExperienceReplay,
    HDF5Recorder,
    LeRobotExperienceReplay,
    MinariExperienceReplay,
    MinariRecorder,
    ParquetRecorder,
    RowSource,
    _split,
)
from rl_specs import MissingKeyError, SpecError


class _Rows(RowSource):
    """Steps given as they are."""

    name = "group/rows"

    def __init__(self, rows: TensorDict) -> None:
        self._rows = rows

    def most_rows(self) -> int:
        return len(self._rows)

    def blocks(self) -> Iterator[TensorDict]:
        yield self._rows

    def metadata(self) -> dict[str, Any]:
        return {"from": "here"}


class _Dataset(BaseDatasetExperienceReplay):
    """A data set of such rows."""

    kind = "rows"


def _rows(ends: list[int], episodes: list[int] | None = None) -> TensorDict:
    count = len(ends)
    flags = torch.tensor(ends, dtype=torch.bool).view(-1, 1)
    rows = TensorDict(
        {
            "observation": {"a": torch.arange(1, count + 1).double().view(-1, 1), "b": torch.ones(count, 2, 3).bool()},
            "next": {"done": flags, "reward": torch.ones(count, 1)},
        },
        [count],
    )
    return rows if episodes is None else rows.set("episode", torch.tensor(episodes))


@pytest.mark.parametrize("steps", [1, 6, 100])
def test_trajectories_are_padded_with_a_mask(tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps 1, 2 | 3 | 4, 5, 6 | 7 of ends and numbers become rows [4, 3], zeros and a false mask behind each."""
    monkeypatch.setattr(_split, "_STEPS", steps)
    data = _rows([0, 1, 0, 0, 0, 0, 0], [0, 0, 1, 2, 2, 2, 3])
    buffer = _Dataset(_Rows(data), 5, root=tmp_path, split_trajs=True)
    assert (len(buffer), buffer.metadata) == (4, {"from": "here", "trajectories": 4, "longest": 3})
    rows = buffer[:]
    assert rows.batch_size == (4, 3)
    expected = torch.tensor([[1.0, 2, 0], [3, 0, 0], [4, 5, 6], [7, 0, 0]]).double()
    assert torch.equal(rows["observation", "a"].squeeze(-1), expected)
    assert torch.equal(rows["mask"], expected != 0)
    assert torch.equal(rows["observation", "b"].all(-1).all(-1), expected != 0)
    assert torch.equal(rows["next", "reward"].squeeze(-1), (expected != 0).float())
    assert rows["next", "done"].squeeze(-1).nonzero().tolist() == [[0, 1]]
    batch = buffer.sample()
    assert batch.batch_size == (5, 3)
    assert torch.equal(batch["observation", "a"].squeeze(-1), expected[batch["index"][:, 0]])


def test_steps_and_trajectories_are_kept_side_by_side(tmp_path: Path) -> None:
    """Each form is converted once and removed alone, and what a conversion needs for a while does not stay."""
    source = _Rows(_rows([0, 1, 0]))
    split = _Dataset(source, None, root=tmp_path, split_trajs=True, sampler=SamplerWithoutReplacement())
    assert [path.name for path in (tmp_path / "group").iterdir()] == ["rows.trajectories"]
    steps = _Dataset(source, None, root=tmp_path)
    assert (len(split), len(steps)) == (2, 3)
    split.delete()
    again = _Dataset(source, None, root=tmp_path, split_trajs=True)
    assert sorted(path.name for path in (tmp_path / "group").iterdir()) == ["rows", "rows.trajectories"]
    assert again.data_path == tmp_path / "group" / "rows.trajectories"
    assert len(_Dataset(_Rows(_rows([1] * 9)), None, root=tmp_path, split_trajs=True)) == 2


def test_data_without_ends_are_refused(tmp_path: Path) -> None:
    """Neither numbers nor flags, none of them ever set, or an entry in the way: each says so, and leaves nothing."""

    def refused(rows: TensorDict, error: type[Exception], match: str) -> None:
        with pytest.raises(error, match=match):
            _Dataset(_Rows(rows), None, root=tmp_path, split_trajs=True)
        assert list((tmp_path / "group").iterdir()) == []

    none = _rows([0, 0]).exclude(("next", "done"))
    refused(none, MissingKeyError, r'_Dataset: nothing in group/rows says where trajectories end: no "episode".*split')
    refused(_rows([0, 0], [3, 3]), SpecError, r"no step terminates or is truncated.*single steps")
    refused(_rows([0, 1]).set("mask", torch.ones(2)), SpecError, r'entry "mask".*another name')
    assert len(_Dataset(_Rows(_rows([0, 1])), None, root=tmp_path, split_trajs=True)) == 1


def _episodes() -> TensorDict:
    """Episodes of 2, 4 and 1 steps: step n has observation n, and the one after it n + 1."""
    ends = torch.tensor([0, 1, 0, 0, 0, 1, 1]).bool().view(-1, 1)
    number = torch.arange(1, 8).float().view(-1, 1)
    after = {"observation": number + 1, "reward": number, "terminated": ends, "truncated": ends & False, "done": ends}
    return TensorDict({"observation": number, "action": number, "next": after}, [7])


def _d4rl(path: Path) -> BaseDatasetExperienceReplay:
    with HDF5Recorder(path / "a.hdf5") as recorder:
        recorder.extend(_episodes())
    return D4RLExperienceReplay(path / "a.hdf5", root=path / "root", split_trajs=True)


def _lerobot(path: Path) -> BaseDatasetExperienceReplay:
    with ParquetRecorder(path / "a") as recorder:
        recorder.extend(_episodes())
    return LeRobotExperienceReplay(path / "a", root=path / "root", split_trajs=True)


def _minari(path: Path) -> BaseDatasetExperienceReplay:
    space = gymnasium.spaces.Box(-100, 100, (1,), np.float32)
    with MinariRecorder("walk/short-v0", observation_space=space, action_space=space) as recorder:
        recorder.extend(_episodes())
    return MinariExperienceReplay("walk/short-v0", root=path / "root", split_trajs=True)


@pytest.mark.parametrize("make", [_d4rl, _lerobot, _minari])
def test_recorded_episodes_come_back_whole(
    make: Callable[[Path], BaseDatasetExperienceReplay], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Episodes of 2, 4 and 1 steps are rows of 4 steps, whatever the format."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    rows = make(tmp_path)[:]
    expected = torch.tensor([[1.0, 2, 0, 0], [3, 4, 5, 6], [7, 0, 0, 0]])
    assert torch.equal(rows["observation"].squeeze(-1), expected)
    assert torch.equal(rows["next", "reward"].squeeze(-1), expected)
    assert torch.equal(rows["mask"], expected != 0)
    assert rows["next", "done"].squeeze(-1).nonzero().tolist() == [[0, 1], [1, 3], [2, 0]]


def test_games_come_back_whole(tmp_path: Path) -> None:
    """Of a checkpoint of frames with a terminal step 2 of 4, trajectories have 3 steps and 1 (the last is left out)."""
    columns = {
        "observation": np.arange(1, 6, dtype=np.uint8).repeat(84 * 84).reshape(5, 84, 84),
        "action": np.arange(5),
        "reward": np.ones(5, np.float32),
        "terminal": np.array([0, 0, 1, 0, 0], np.uint8),
    }
    for entry, values in columns.items():
        with gzip.open(tmp_path / f"$store$_{entry}_ckpt.0.gz", "wb") as file:
            np.save(file, values)  # type: ignore[arg-type]  # a file is all that is needed
    rows = AtariDQNExperienceReplay(tmp_path, root=tmp_path / "root", split_trajs=True)[:]
    assert rows["observation"][:, :, 0, 0].tolist() == [[1, 2, 3], [4, 0, 0]]
    assert rows["mask"].sum(1).tolist() == [3, 1]


def test_a_file_that_never_ends_is_refused(tmp_path: Path) -> None:
    """A file in the layout of D4RL without timeouts, in which nothing terminates, has no trajectories."""
    with h5py.File(tmp_path / "maze.hdf5", "w") as file:
        for name in ("observations", "actions", "rewards", "terminals"):
            file[name] = np.zeros(9, bool if name == "terminals" else np.float32)
    with pytest.raises(SpecError, match=r"D4RLExperienceReplay: nothing in maze says where.*Leave split_trajs out"):
        D4RLExperienceReplay(tmp_path / "maze.hdf5", root=tmp_path, split_trajs=True)


@pytest.mark.parametrize(
    "kind", [AtariDQNExperienceReplay, D4RLExperienceReplay, LeRobotExperienceReplay, MinariExperienceReplay]
)
def test_every_argument_has_a_name(kind: Any) -> None:
    """The signature shows each keyword argument, and an unknown one is refused with those that come near."""
    names = inspect.signature(kind).parameters
    assert {"root", "split_trajs", "sampler", "writer", "transform", "generator", "prefetch", "batch_size"} <= {*names}
    assert not any(parameter.kind is parameter.VAR_KEYWORD for parameter in names.values())
    with pytest.raises(TypeError, match=r"unknown argument split_traj\..*Did you mean split_trajs"):
        kind("a", split_traj=True)
