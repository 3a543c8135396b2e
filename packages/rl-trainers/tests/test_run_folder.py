"""Run folders have names of their own."""

import re
from pathlib import Path

import pytest

from rl_trainers import PPOConfig, RunFolderError, create_run_folder, load_config, open_run_folder
from rl_trainers.run_folder import write_json


def test_name_says_when_what_and_which_seed(tmp_path: Path) -> None:
    """The folder is called <date-time>-<env>-ppo-<seed> and holds the configuration."""
    config = PPOConfig(run_dir=str(tmp_path / "runs"), seed=7)
    config.env.name = "ALE/Pong-v5"
    run = create_run_folder(config)
    assert re.fullmatch(r"\d{8}-\d{6}-ALE-Pong-v5-ppo-7", run.path.name)
    assert load_config(run.config_file) == config
    assert run.config() == config


def test_folders_are_never_shared(tmp_path: Path) -> None:
    """Runs started within a second get folders of their own."""
    paths = {create_run_folder(PPOConfig(run_dir=str(tmp_path))).path for _ in range(4)}
    assert len(paths) == 4


def test_chosen_name_is_never_overwritten(tmp_path: Path) -> None:
    """A run name that is taken is refused, and the run there stays as it is."""
    config = PPOConfig(run_dir=str(tmp_path), run_name="mine")
    run = create_run_folder(config)
    run.metrics_file.write_text("precious")
    with pytest.raises(RunFolderError, match=r"mine exists already.*rl-train resume"):
        create_run_folder(config)
    assert run.metrics_file.read_text() == "precious"


def test_run_dir_that_is_a_file(tmp_path: Path) -> None:
    """A run_dir in which nothing can be made is refused with the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"Choose another run_dir|exists already"):
        create_run_folder(PPOConfig(run_dir=str(tmp_path / "file")))


def test_open_takes_the_folder_or_a_file_in_it(tmp_path: Path) -> None:
    """A run is found by its folder and by any of its files."""
    run = create_run_folder(PPOConfig(run_dir=str(tmp_path)))
    assert open_run_folder(run.path) == run
    assert open_run_folder(run.config_file) == run


def test_open_lists_runs_below(tmp_path: Path) -> None:
    """The folder above the runs is refused with the names of the runs in it."""
    run = create_run_folder(PPOConfig(run_dir=str(tmp_path), run_name="here"))
    with pytest.raises(RunFolderError, match=r"is not a run.*Runs in there: here"):
        open_run_folder(run.path.parent)


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    """Writing JSON replaces the file and leaves nothing else."""
    write_json(tmp_path / "a.json", {"x": 1})
    write_json(tmp_path / "a.json", {"x": 2.5})
    assert (tmp_path / "a.json").read_text() == '{\n  "x": 2.5\n}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
