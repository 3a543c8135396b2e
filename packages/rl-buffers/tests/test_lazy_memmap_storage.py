"""Storages in files."""

import errno
import gc
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tensordict import TensorDict

from rl_buffers import (
    FlatStorageCheckpointer,
    H5StorageCheckpointer,
    HERReplayBuffer,
    LazyMemmapStorage,
    NestedStorageCheckpointer,
    PrioritizedSliceSampler,
    ReplayBuffer,
    RoundRobinWriter,
    Sampler,
    SamplerWithoutReplacement,
    SliceSampler,
    SliceSamplerWithoutReplacement,
    StorageCheckpointerBase,
    StreamingSliceSampler,
    TensorDictReplayBuffer,
    TensorStorageCheckpointer,
)
from rl_specs import SpecError


def _rows(first: int, count: int) -> TensorDict:
    numbers = torch.arange(first, first + count)
    wide = numbers.float().view(-1, 1).expand(-1, 3)
    return TensorDict({"a": numbers, "in": {"b": wide, "flag": numbers % 2 == 0}}, batch_size=[count])


def test_a_folder_is_found_again_with_its_ring(tmp_path: Path) -> None:
    """A storage opened by path has layout, rows and length, and a buffer goes on at the row after the last one."""
    buffer = TensorDictReplayBuffer(storage=LazyMemmapStorage(5, scratch_dir=tmp_path / "s"), batch_size=20)
    buffer.extend(_rows(0, 4))
    buffer.extend(_rows(4, 3))
    program = (
        "import sys\nfrom rl_buffers import LazyMemmapStorage, TensorDictReplayBuffer\n"
        "buffer = TensorDictReplayBuffer(storage=LazyMemmapStorage(5, scratch_dir=sys.argv[1], existsok=True))\n"
        "row = buffer[2]\nrow['a'] += 100\nassert buffer.add(row) == 2\nprint(buffer[:]['a'].tolist())\n"
    )
    run = subprocess.run([sys.executable, "-c", program, str(tmp_path / "s")], capture_output=True, text=True)
    assert run.stdout.strip() == "[5, 6, 102, 3, 4]", run.stderr
    assert buffer[:]["a"].tolist() == [5, 6, 102, 3, 4]
    assert torch.equal(buffer[:]["in", "b"][:, 1], torch.tensor([5.0, 6.0, 2.0, 3.0, 4.0]))


def test_a_reopened_storage_starts_a_pass_over_its_rows(tmp_path: Path) -> None:
    """A sampler over a reopened storage knows the rows that are there."""
    TensorDictReplayBuffer(storage=LazyMemmapStorage(5, scratch_dir=tmp_path)).extend(_rows(0, 4))
    storage = LazyMemmapStorage(5, scratch_dir=tmp_path, existsok=True)
    buffer = TensorDictReplayBuffer(storage=storage, sampler=SamplerWithoutReplacement(), batch_size=4)
    assert sorted(buffer.sample()["a"].tolist()) == [0, 1, 2, 3]


SLICES: dict[str, Callable[[], Sampler]] = {
    "slices": lambda: SliceSampler(slice_len=3),
    "once": lambda: SliceSamplerWithoutReplacement(slice_len=3),
    "stream": lambda: StreamingSliceSampler(slice_len=3),
    "priority": lambda: PrioritizedSliceSampler(20, 1.0, 1.0, slice_len=3),
}


@pytest.mark.parametrize("kind", SLICES)
def test_runs_are_kept_apart(kind: str, tmp_path: Path) -> None:
    """An episode that one program did not end is not continued by the next one, nor by the one after that, which finds
    in the folder where the others stopped.
    """
    for run in range(4):
        storage = LazyMemmapStorage(20, scratch_dir=tmp_path, existsok=True)
        generator = torch.Generator().manual_seed(run)
        buffer = TensorDictReplayBuffer(storage=storage, sampler=SLICES[kind](), batch_size=3, generator=generator)
        buffer.extend(_steps(100 * run, 5))
        buffer.add(_steps(100 * run + 5, 1)[0])
        assert len(buffer) == min(6 * (run + 1), 20)
        slices = torch.cat([buffer.sample()["a"] for _ in range(200)]).view(-1, 3)
        assert (slices.diff() == 1).all()
        found = set(slices[:, 1].tolist())
        assert found <= {100 * each + middle for each in range(run + 1) for middle in range(1, 5)}
        if kind in ("slices", "priority"):
            assert len(found) == min(4 * (run + 1), 12)  # of the first run two steps are left in the end


def test_an_exchange_of_the_sampler_is_no_other_run(tmp_path: Path) -> None:
    """Steps written after `set_sampler` and `set_writer` continue the trajectory, in this program and in the next."""
    storage = LazyMemmapStorage(20, scratch_dir=tmp_path)
    buffer = TensorDictReplayBuffer(storage=storage, batch_size=6)
    buffer.extend(_steps(0, 2))
    buffer.set_sampler(SliceSampler(slice_len=6))
    buffer.extend(_steps(2, 2))
    buffer.set_writer(RoundRobinWriter())
    buffer.extend(_steps(4, 2))
    again = LazyMemmapStorage(20, scratch_dir=tmp_path, existsok=True)
    other = TensorDictReplayBuffer(storage=again, sampler=SliceSampler(slice_len=6), batch_size=6)
    for each in (buffer, other):
        assert each.sample()["a"].tolist() == list(range(6))


def test_goals_are_not_taken_from_other_runs(tmp_path: Path) -> None:
    """Goals in hindsight come from the run of their row, whichever program draws them."""
    for run in range(3):
        buffer = HERReplayBuffer(
            storage=LazyMemmapStorage(20, scratch_dir=tmp_path, existsok=True),
            reward_fn=lambda achieved, desired, batch: (achieved == desired).all(-1).float(),
            strategy="episode",
            her_ratio=1.0,
            batch_size=400,
            generator=torch.Generator().manual_seed(run),
        )
        steps = _steps(100 * run, 6)
        goal = steps["a"].float().view(-1, 1)
        steps.update({"achieved_goal": goal, "desired_goal": goal})
        steps["next"].update({"achieved_goal": goal, "desired_goal": goal, "reward": torch.zeros(6, 1)})
        buffer.extend(steps)
        batch = buffer.sample()
        assert torch.equal(batch["desired_goal"].squeeze(1).long() // 100, batch["a"] // 100)
        assert set((batch["a"] // 100).tolist()) == set(range(run + 1))
        assert len(set(batch["desired_goal"].flatten().tolist())) == 6 * (run + 1)


def _steps(first: int, count: int) -> TensorDict:
    done = torch.zeros(count, 1, dtype=torch.bool)
    return TensorDict({"a": torch.arange(first, first + count), "next": {"done": done}}, [count])


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_reopened_ring_keeps_its_seam(is_shared: bool, tmp_path: Path) -> None:
    """Slices of a reopened storage never go from the newest row to the oldest, before and after further writes, nor
    from the last row of one run to the first of the next, where runs follow one another.
    """
    steps = TensorDict({"a": torch.arange(20), "next": {"done": torch.zeros(20, 1, dtype=torch.bool)}}, [20])
    first = TensorDictReplayBuffer(storage=LazyMemmapStorage(10, scratch_dir=tmp_path, shared_init=is_shared))
    first.extend(steps[:7])
    first.extend(steps[7:13])
    storage = LazyMemmapStorage(10, scratch_dir=tmp_path, existsok=True, shared_init=is_shared)
    sampler = SliceSampler(slice_len=2, end_key=("next", "done"))
    buffer = TensorDictReplayBuffer(storage=storage, sampler=sampler, batch_size=200)
    for last in (13, 17):
        pairs = buffer.sample()["a"].view(-1, 2)
        assert torch.equal(pairs[:, 0] + 1, pairs[:, 1])
        assert set(pairs[:, 0].tolist()) == set(range(last - 10, last - 1)) - (set() if is_shared else {12})
        (first if is_shared else buffer).extend(steps[13:17])


def test_an_existing_storage_is_opened_only_when_asked_and_when_it_fits(tmp_path: Path) -> None:
    """Without `existsok` a folder in use is an error, and so is another capacity or a damaged head."""
    ReplayBuffer(storage=LazyMemmapStorage(5, scratch_dir=tmp_path)).extend(torch.zeros(2))
    with pytest.raises(FileExistsError, match="existsok=True"):
        LazyMemmapStorage(5, scratch_dir=tmp_path)
    with pytest.raises(SpecError, match="capacity: expected 6 rows, found 5"):
        LazyMemmapStorage(6, scratch_dir=tmp_path, existsok=True)
    with pytest.raises(SpecError, match="ndim: expected 2, found 1"):
        LazyMemmapStorage(5, scratch_dir=tmp_path, existsok=True, ndim=2)
    (tmp_path / "storage.json").write_text("{")
    with pytest.raises(SpecError, match="cannot be read"):
        LazyMemmapStorage(5, scratch_dir=tmp_path, existsok=True)


def test_temporary_files_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a temporary storage have no name, its folder goes with it, and those of a named one stay."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gc.collect()
    opened = len(list(Path("/proc/self/fd").iterdir()))
    buffer = ReplayBuffer(storage=LazyMemmapStorage(5))
    buffer.extend(torch.zeros(2))
    assert [list(folder.iterdir()) for folder in tmp_path.iterdir()] == [[]]
    del buffer
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == opened
    storage = LazyMemmapStorage(5, shared_init=True)
    ReplayBuffer(storage=storage).extend(torch.zeros(2))
    assert len(list(tmp_path.iterdir())) == 1
    storage.close()
    storage.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError, match="it is closed"):
        storage.check(torch.zeros(2), "test")
    named = LazyMemmapStorage(5, scratch_dir=tmp_path / "named", auto_cleanup=True)
    ReplayBuffer(storage=named).extend(torch.zeros(2))
    (tmp_path / "named" / "mine").touch()
    named.close()
    assert [path.name for path in (tmp_path / "named").iterdir()] == ["mine"]


def test_files_have_holes_where_no_row_was_written(tmp_path: Path) -> None:
    """A storage of a terabyte takes the room of its rows, and some ahead."""
    buffer = ReplayBuffer(storage=LazyMemmapStorage(1 << 30, scratch_dir=tmp_path))
    buffer.extend(torch.ones(4, 256))
    size = (tmp_path / "table_0.bin").stat()
    assert size.st_size == 1 << 40
    assert size.st_blocks * 512 < 1 << 27
    assert buffer.sample(9).sum() == 9 * 256


def test_rows_far_ahead_leave_a_hole(tmp_path: Path) -> None:
    """A row written far beyond the others takes its own room alone, and rows between are zeros until written."""
    storage = LazyMemmapStorage(1 << 30, scratch_dir=tmp_path)
    storage.write((1 << 30) - 1, storage.check_row(torch.ones(256), "test"))
    storage.write(slice(0, 2), storage.check(torch.full((2, 256), 2.0), "test"))
    assert (tmp_path / "table_0.bin").stat().st_blocks * 512 < 1 << 27
    sums = ReplayBuffer(storage=storage)[[0, 1, 2, (1 << 30) - 1]].sum(1)
    assert sums.tolist() == [512.0, 512.0, 0.0, 256.0]


def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When blocks cannot be reserved, `extend` raises, and length, rows and the place in the ring are as before."""
    monkeypatch.setattr("rl_buffers._mapped_files._AHEAD", 0)
    buffer = ReplayBuffer(storage=LazyMemmapStorage(1000, scratch_dir=tmp_path))
    buffer.extend(torch.ones(10, 4))

    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"no room for 1,600 bytes in .*nothing was written.*scratch_dir"):
        buffer.extend(torch.zeros(100, 4))
    assert len(buffer) == 10
    assert torch.equal(buffer[:], torch.ones(10, 4))
    monkeypatch.undo()
    assert buffer.extend(torch.zeros(2, 4)).tolist() == [10, 11]


def test_a_file_that_the_system_refuses_is_an_error_with_a_fix(tmp_path: Path) -> None:
    """A limit on the size of files is reported when the first data are stored."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    buffer = ReplayBuffer(storage=LazyMemmapStorage(1 << 20, scratch_dir=tmp_path))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(OSError, match="no room for 16,777,216 bytes"):
            buffer.extend(torch.ones(2, 4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(buffer) == 0


def test_a_state_without_room_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that cannot take the rows of a state leaves the buffer as it was."""
    source, target = (ReplayBuffer(storage=LazyMemmapStorage(1 << 20)) for _ in range(2))
    source.extend(torch.ones(1 << 20, 8))
    target.extend(torch.zeros(3, 8))

    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("rl_buffers._mapped_files._take_blocks", full)
    target.storage._pager._files._reserved = 3  # type: ignore[attr-defined]  # as if there had been no more room then
    with pytest.raises(OSError, match="no room for"):
        target.load_state_dict(source.state_dict())
    assert torch.equal(target[:], torch.zeros(3, 8))


def test_pages_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows stay what they are when the budget of touched pages is passed again and again."""
    monkeypatch.setattr("rl_buffers._mapped_files._BUDGET", 1 << 12)
    buffer = ReplayBuffer(storage=LazyMemmapStorage(300))
    for start in range(0, 600, 100):
        buffer.extend(torch.arange(start, start + 100.0).view(-1, 1).expand(-1, 8))
    assert torch.equal(buffer[:][:, 3], torch.arange(300, 600.0))
    assert int(buffer.sample(64).min()) >= 300


def _resident(folder: Path) -> int:
    """Bytes of the files in a folder that count as memory of this process."""
    sizes, is_there = [], False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            is_there = words[-1].startswith(str(folder))
        elif is_there and words[0] == "Rss:":
            sizes.append(1024 * int(words[1]))
    assert sizes
    return sum(sizes)


@pytest.mark.parametrize(
    "kind", [TensorStorageCheckpointer, FlatStorageCheckpointer, NestedStorageCheckpointer, H5StorageCheckpointer]
)
@pytest.mark.parametrize("in_background", [False, True])
def test_pages_are_given_back_while_rows_are_saved(
    kind: Callable[[], StorageCheckpointerBase], in_background: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save reads all rows and leaves no more of them in memory than the budget, and a chunk."""
    monkeypatch.setattr("rl_buffers._mapped_files._BUDGET", 1 << 20)
    buffer = TensorDictReplayBuffer(storage=LazyMemmapStorage(1 << 14, scratch_dir=tmp_path / "rows"))
    for _ in range(4):
        wide = torch.rand(1 << 12, 256)
        buffer.extend(TensorDict({"a": wide, "next": {"a": wide.roll(-1, 0)}}, [1 << 12]))
    buffer.storage._pager._files._touch(1 << 21)  # type: ignore[attr-defined]  # what writing touched is given back
    assert _resident(tmp_path / "rows") < 1 << 20
    if in_background:
        buffer.dumps_in_background(tmp_path / "save", checkpointer=kind()).wait()
    else:
        buffer.dumps(tmp_path / "save", checkpointer=kind())
    assert _resident(tmp_path / "rows") < 4 << 20  # of 32 MiB


def test_batches_go_to_a_device() -> None:
    """Tables stay in files, batches are moved."""
    storage = LazyMemmapStorage(4, device="meta")
    buffer = TensorDictReplayBuffer(storage=storage)
    buffer.extend(_rows(0, 3))
    assert storage.device == torch.device("cpu")
    assert buffer.sample(2)["a"].device == torch.device("meta")


def test_a_storage_in_named_files_is_pickled_by_path(tmp_path: Path) -> None:
    """The copy reads and writes the same rows; one without a name says what to do."""
    storage = LazyMemmapStorage(4, scratch_dir=tmp_path)
    buffer = ReplayBuffer(storage=storage)
    buffer.extend(torch.arange(3))
    copy = pickle.loads(pickle.dumps(storage))
    ReplayBuffer(storage=copy).extend(torch.tensor([7, 8]))
    assert buffer[:].tolist() == [8, 1, 2, 7]
    with pytest.raises(TypeError, match="scratch_dir"):
        pickle.dumps(LazyMemmapStorage(4))


def test_rows_without_elements_are_kept() -> None:
    """An entry of no elements has a place in the layout and none on disk."""
    buffer = ReplayBuffer(storage=LazyMemmapStorage(4))
    buffer.extend({"x": torch.arange(2), "none": torch.zeros(2, 0, dtype=torch.float64)})
    assert buffer.sample(3)["none"].shape == (3, 0)


LARGE = """
import resource, sys
import torch
from rl_buffers import LazyMemmapStorage, ReplayBuffer

torch.set_num_threads(1)
rows = 50_000_000
buffer = ReplayBuffer(storage=LazyMemmapStorage(rows, scratch_dir=sys.argv[1]), batch_size=256)
buffer.extend(torch.ones(1000, 250))
storage = buffer.storage
storage.write(rows - 1, storage.check_row(torch.ones(250), "test"))
assert len(buffer) == rows
for turn in range(2000):
    buffer.sample()
    if turn % 2:
        buffer.extend(torch.full((1000, 250), float(turn)))
assert buffer[500_000 : 500_001].unique().numel() == 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_a_storage_of_50_gigabytes_stays_small_in_memory(tmp_path: Path) -> None:
    """Half a million rows drawn from all of 50 GB, and a million written, leave less than 2 GB resident at any time."""
    run = subprocess.run([sys.executable, "-c", LARGE, str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "table_0.bin").stat().st_size == 50_000_000_000
    assert int(run.stdout) < 2000


def test_an_empty_batch_is_written_to_files_that_were_opened_again(tmp_path: Path) -> None:
    """Nothing is reserved for no rows, wherever they would go: the buffer stays as it is and takes rows on."""
    first = ReplayBuffer(storage=LazyMemmapStorage(8, scratch_dir=tmp_path))
    first.extend(torch.arange(3))
    again = ReplayBuffer(storage=LazyMemmapStorage(8, scratch_dir=tmp_path, existsok=True))
    assert again.extend(torch.arange(0)).tolist() == []
    assert again.extend(torch.arange(3, 5)).tolist() == [3, 4]
    assert again[:].tolist() == [0, 1, 2, 3, 4]
