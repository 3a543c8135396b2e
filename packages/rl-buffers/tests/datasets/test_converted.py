"""The converted form of a data set."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict

from rl_buffers.datasets import RowSource
from rl_buffers.datasets._converted import opened


class Numbers(RowSource):
    """Twelve rows in three blocks; each of several readers waits for the others before its last one.

    Args:
        readers: how many.
    """

    def __init__(self, readers: int) -> None:
        self._barrier = threading.Barrier(readers)
        self.conversions = 0

    @property
    def name(self) -> str:
        """The data set."""
        return "numbers"

    def most_rows(self) -> int:
        """Twelve."""
        return 12

    def blocks(self) -> Iterator[TensorDict]:
        """Numbers from 0."""
        self.conversions += 1
        for start in range(0, 12, 4):
            if start == 8:
                self._barrier.wait(60)
            yield TensorDict({"x": torch.arange(start, start + 4)}, [4])

    def metadata(self) -> dict[str, Any]:
        """Nothing."""
        return {}


def test_several_readers_convert_a_data_set_at_once(tmp_path: Path) -> None:
    """All of them open one whole conversion, whose files stay when others are ready later; nothing else is left."""
    source, folder = Numbers(3), tmp_path / "numbers"
    with ThreadPoolExecutor(3) as pool:
        storages = list(pool.map(lambda _: opened("test", source, folder)[0], range(3)))
    assert source.conversions == 3
    assert all(storage.read(slice(0, 12))["x"].tolist() == list(range(12)) for storage in storages)
    assert [path.name for path in tmp_path.iterdir()] == ["numbers"]
    storages[0].write(0, storages[0].check_row(TensorDict({"x": torch.tensor(50)}, []), "test"))
    assert [int(storage.read(slice(0, 1))["x"]) for storage in storages] == [50] * 3  # the same files


def test_what_is_no_conversion_is_replaced(tmp_path: Path) -> None:
    """A folder that holds something else, of a conversion that was cut off say, gives way."""
    folder = tmp_path / "numbers"
    (folder / "rows").mkdir(parents=True)
    assert len(opened("test", Numbers(1), folder)[0]) == 12
    assert len(opened("test", Numbers(1), folder)[0]) == 12


_HOLDS = """
import sys
from pathlib import Path
from rl_buffers.datasets._partial_folder import partial_folder

with partial_folder(Path(sys.argv[1])) as partial:
    (partial / "rows").mkdir()
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_program_has_left_is_removed(tmp_path: Path) -> None:
    """Its folder goes with the next conversion, and not while the program lives."""
    folder = tmp_path / "numbers"
    command = [sys.executable, "-c", _HOLDS, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        opened("test", Numbers(1), folder)
        while_it_lives = sorted(path.suffix for path in tmp_path.iterdir())
        shutil.rmtree(folder)
        program.kill()
        program.wait()
        left = [path.suffix for path in tmp_path.iterdir()]
    opened("test", Numbers(1), folder)
    assert (while_it_lives, left) == (["", ".partial"], [".partial"])
    assert [path.name for path in tmp_path.iterdir()] == ["numbers"]
