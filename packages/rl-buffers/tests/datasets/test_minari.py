"""Data sets of Minari, recorded here with that library."""

import warnings
from pathlib import Path
from typing import Any

import gymnasium
import minari
import numpy as np
import pytest
import torch
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer

from rl_buffers import SliceSampler
from rl_buffers.datasets import MinariExperienceReplay
from rl_buffers.datasets import minari as module
from rl_buffers.datasets._rows import step_rows


class Nested(gymnasium.Env[Any, Any]):
    """Counts; observations are dicts, episodes end after 3 steps, or are cut off after 5."""

    observation_space = spaces.Dict(
        {
            "count": spaces.Box(-100.0, 100.0, (2,), np.float32),
            "inner": spaces.Dict({"parity": spaces.Discrete(2)}),
        }
    )
    action_space = spaces.Discrete(3)

    def __init__(self) -> None:
        self.count = 0
        self.episode = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start at ten times the number of the episode."""
        super().reset(seed=seed)
        self.episode += 1
        self.count = 0
        return self._observation(), {"total": 10.0 * self.episode, "name": "a"}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Count on."""
        self.count += 1
        is_short = self.episode % 2 == 1
        info = {"total": 10.0 * self.episode + self.count, "name": "b"}
        return self._observation(), float(action), is_short and self.count == 3, self.count == 5, info

    def _observation(self) -> Any:
        value = 10.0 * self.episode + self.count
        return {"count": np.full(2, value, np.float32), "inner": {"parity": self.count % 2}}


def _episode(env: Nested, number: int) -> EpisodeBuffer:
    """One episode of random actions, in the arrays of Minari."""
    observation, info = env.reset(seed=0)
    observations, infos, actions, steps = [observation], [info], [], []
    ends = False
    while not ends:
        actions.append(env.action_space.sample())
        observation, reward, terminated, truncated, info = env.step(actions[-1])
        observations.append(observation)
        infos.append(info)
        steps.append((reward, terminated, truncated))
        ends = terminated or truncated
    rewards, terminations, truncations = (list(column) for column in zip(*steps, strict=True))
    return EpisodeBuffer(
        id=number,
        observations={
            "count": np.stack([each["count"] for each in observations]),
            "inner": {"parity": np.array([each["inner"]["parity"] for each in observations])},
        },
        actions=np.array(actions),
        rewards=rewards,
        terminations=terminations,
        truncations=truncations,
        infos={"total": np.array([each["total"] for each in infos]), "name": [each["name"] for each in infos]},
    )


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A data set of four episodes, of 3, 5, 3 and 5 steps."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    env = Nested()
    env.action_space.seed(0)
    episodes = [_episode(env, number) for number in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there is no specification of the environment
        minari.create_dataset_from_buffers(
            "nested/test-v0",
            episodes,
            observation_space=env.observation_space,
            action_space=env.action_space,
            algorithm_name="random",
            author="test",
            author_email="test@example.org",
            code_permalink="https://example.org",
            description="test",
        )
    return "nested/test-v0"


def test_rows_are_the_recorded_steps(recorded: str, tmp_path: Path) -> None:
    """Every step of every episode is there, in order, with what it led to and how its episode ended."""
    buffer = MinariExperienceReplay(recorded, root=tmp_path / "converted", batch_size=4)
    rows = buffer[:]
    assert len(buffer) == 16
    assert rows["episode"].tolist() == [0] * 3 + [1] * 5 + [2] * 3 + [3] * 5
    count = rows["observation", "count"][:, 0]
    assert count.tolist() == [10, 11, 12, 20, 21, 22, 23, 24, 30, 31, 32, 40, 41, 42, 43, 44]
    assert torch.equal(rows["next", "observation", "count"][:, 0], count + 1)
    assert rows["observation", "inner", "parity"].dtype == torch.int64
    terminated, truncated = rows["next", "terminated"][:, 0], rows["next", "truncated"][:, 0]
    assert terminated.nonzero().flatten().tolist() == [2, 10]
    assert truncated.nonzero().flatten().tolist() == [7, 15]
    assert torch.equal(rows["next", "done"], rows["next", "terminated"] | rows["next", "truncated"])
    dataset = minari.load_dataset(recorded)
    given = np.concatenate([episode.rewards for episode in dataset.iterate_episodes()])
    actions = np.concatenate([episode.actions for episode in dataset.iterate_episodes()])
    assert np.array_equal(rows["next", "reward"][:, 0].numpy(), given)
    assert np.array_equal(rows["action"].numpy(), actions)


def test_infos_of_numbers_are_entries(recorded: str, tmp_path: Path) -> None:
    """Infos with a number for each observation go with it; what is left out is named."""
    buffer = MinariExperienceReplay(recorded, root=tmp_path / "converted")
    rows = buffer[:]
    assert torch.equal(rows["info", "total"].flatten().float(), rows["observation", "count"][:, 0])
    assert torch.equal(rows["next", "info", "total"].flatten().float(), rows["next", "observation", "count"][:, 0])
    assert buffer.metadata["left_out"] == ["name"]
    assert buffer.metadata["total_episodes"] == 4
    assert MinariExperienceReplay.available_datasets() == [recorded]


def test_slices_stay_in_their_episode(recorded: str, tmp_path: Path) -> None:
    """A slice sampler on the number of the episode gives consecutive steps of one episode."""
    buffer = MinariExperienceReplay(
        recorded, root=tmp_path / "converted", batch_size=30, sampler=SliceSampler(slice_len=3, traj_key="episode")
    )
    slices = buffer.sample().reshape(10, 3)
    assert bool((slices["episode"] == slices["episode"][:, :1]).all())
    assert torch.equal(slices["observation", "count"][:, 1:], slices["next", "observation", "count"][:, :-1])


def test_the_converted_form_is_opened_again(recorded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second buffer reads the converted files, even where the original is gone; `delete` removes them."""
    first = MinariExperienceReplay(recorded, root=tmp_path / "converted")
    rows = first[:]
    minari.delete_dataset(recorded)
    second = MinariExperienceReplay(recorded, root=tmp_path / "converted")
    assert second.metadata == first.metadata
    assert bool((second[:] == rows).all())
    second.delete()
    assert not second.data_path.exists()
    with pytest.raises(FileNotFoundError):
        MinariExperienceReplay(recorded, root=tmp_path / "converted")


def test_rows_cannot_be_changed(recorded: str, tmp_path: Path) -> None:
    """A data set refuses to be written to, unless another writer is given."""
    buffer = MinariExperienceReplay(recorded, root=tmp_path / "converted")
    with pytest.raises(RuntimeError, match="immutable"):
        buffer.extend(buffer[:2])
    with pytest.raises(RuntimeError, match="immutable"):
        buffer.empty()
    assert len(buffer) == 16


def test_an_interrupted_conversion_leaves_nothing(
    recorded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong while rows are converted leaves no folder, and the next attempt starts anew."""
    root = tmp_path / "converted"
    whole = step_rows
    calls = iter(range(100))

    def failing(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 2:
            raise OSError("no space left")
        return whole(*args, **kwargs)

    monkeypatch.setattr(module, "step_rows", failing)
    with pytest.raises(OSError, match="no space left"):
        MinariExperienceReplay(recorded, root=root)
    assert not [path for path in root.rglob("*") if path.is_file()]
    monkeypatch.undo()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    assert len(MinariExperienceReplay(recorded, root=root)) == 16


def test_preprocess_maps_all_rows(recorded: str, tmp_path: Path) -> None:
    """A function is applied chunk by chunk, may drop rows, and its results are kept in files."""
    buffer = MinariExperienceReplay(recorded, root=tmp_path / "converted")

    def kept(rows: Any) -> Any:
        return rows.select("observation", "episode")[rows["episode"] != 1]

    storage = buffer.preprocess(kept, dest=tmp_path / "kept", chunk_size=5)
    assert len(storage) == 11
    assert storage.read(slice(0, 11))["episode"].tolist() == [0] * 3 + [2] * 3 + [3] * 5
