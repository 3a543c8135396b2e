"""Files in the layout of D4RL."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from rl_buffers.datasets import D4RLExperienceReplay
from rl_buffers.datasets import d4rl as module
from rl_specs import MissingKeyError, SpecError

TERMINALS = [0, 0, 1, 0, 0, 0, 0, 0]
TIMEOUTS = [0, 0, 0, 0, 0, 1, 0, 0]


def _write(path: Path, **changes: Any) -> Path:
    """Eight steps: three that terminate, three that time out, two that the file cuts off."""
    columns: dict[str, Any] = {
        "observations": np.arange(16, dtype=np.float32).reshape(8, 2),
        "actions": np.arange(8, dtype=np.float32).reshape(8, 1) / 10,
        "rewards": np.arange(8, dtype=np.float32),
        "terminals": np.array(TERMINALS, dtype=bool),
        "timeouts": np.array(TIMEOUTS, dtype=bool),
        "infos/goal": np.arange(24, dtype=np.float64).reshape(8, 3),
        "metadata/algorithm": np.bytes_("SAC"),
        **changes,
    }
    with h5py.File(path, "w") as file:
        for name, value in columns.items():
            if value is not None:
                file[name] = value
    return path


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_steps_whose_end_is_not_known_are_left_out(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows 5 (timed out) and 7 (end of the file) have no successor; 2 terminated and has zeros. In any chunks."""
    monkeypatch.setattr(module, "_CHUNK", chunk)
    buffer = D4RLExperienceReplay(_write(tmp_path / "walk.hdf5"), root=tmp_path / "converted")
    rows = buffer[:]
    assert rows["next", "reward"][:, 0].tolist() == [0, 1, 2, 3, 4, 6]
    assert rows["episode"].tolist() == [0, 0, 0, 1, 1, 2]
    assert rows["next", "observation"].tolist() == [[2, 3], [4, 5], [0, 0], [8, 9], [10, 11], [14, 15]]
    assert rows["next", "terminated"][:, 0].tolist() == [False, False, True, False, False, False]
    assert not bool(rows["next", "truncated"].any())
    assert rows["info", "goal"][-1].tolist() == [18, 19, 20]
    assert buffer.metadata["algorithm"] == "SAC"


@pytest.mark.parametrize("chunk", [2, 100])
def test_terminate_on_end_keeps_every_step(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With it, a step without successor counts as terminated."""
    monkeypatch.setattr(module, "_CHUNK", chunk)
    path = _write(tmp_path / "walk.hdf5")
    rows = D4RLExperienceReplay(path, root=tmp_path / "converted", terminate_on_end=True)[:]
    assert rows["next", "terminated"][:, 0].nonzero().flatten().tolist() == [2, 5, 7]
    assert len(rows) == 8


def test_stored_successors_are_used(tmp_path: Path) -> None:
    """With `next_observations` nothing is left out, and a timeout is a truncation."""
    following = np.full((8, 2), 7, np.float32)
    rows = D4RLExperienceReplay(_write(tmp_path / "a.hdf5", next_observations=following), root=tmp_path / "c")[:]
    assert bool((rows["next", "observation"] == 7).all())
    assert rows["next", "truncated"][:, 0].nonzero().flatten().tolist() == [5]


def test_other_files_are_refused(tmp_path: Path) -> None:
    """No file, no HDF5, or no such arrays: the message says which, and nothing is left behind."""
    root = tmp_path / "converted"
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.hdf5"):
        D4RLExperienceReplay(tmp_path / "none.hdf5", root=root)
    (tmp_path / "text.hdf5").write_text("no")
    with pytest.raises(SpecError, match="no HDF5 file"):
        D4RLExperienceReplay(tmp_path / "text.hdf5", root=root)
    with pytest.raises(MissingKeyError, match=r'"rewards" missing.*"actions"'):
        D4RLExperienceReplay(_write(tmp_path / "less.hdf5", rewards=None), root=root)
    assert not list(root.iterdir())


def test_samples_are_rows(tmp_path: Path) -> None:
    """A batch has whole rows of the data set, and says which."""
    buffer = D4RLExperienceReplay(_write(tmp_path / "walk.hdf5"), 64, root=tmp_path / "converted")
    batch = buffer.sample()
    assert torch.equal(batch["next", "reward"], buffer[:]["next", "reward"][batch["index"]])
    assert torch.equal(batch["observation"], buffer[:]["observation"][batch["index"]])
