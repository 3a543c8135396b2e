"""Checkpoints are complete or not there, whatever happens while they are written."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rl_trainers import CheckpointError, checkpoint, load_checkpoint, save_checkpoint

PARTS: dict[str, Any] = {
    "model": {"weight": torch.arange(6.0).reshape(2, 3), "names": ["a", "b"]},
    "random": {"torch": torch.arange(8, dtype=torch.uint8), "gauss": None, "position": 3, "raw": b"xyz"},
}


class KilledError(BaseException):
    """Stands for a process that dies at once."""


def newer(value: float) -> dict[str, Any]:
    """Parts with another weight."""
    return {"model": {"weight": torch.full((2, 3), value), "names": []}, "random": PARTS["random"]}


def test_round_trip(tmp_path: Path) -> None:
    """What is loaded equals what was saved, and the manifest counts."""
    save_checkpoint(tmp_path / "checkpoint", PARTS, {"frames": 10, "elapsed_s": 0.5})
    parts, counters = load_checkpoint(tmp_path / "checkpoint")
    assert torch.equal(parts["model"]["weight"], PARTS["model"]["weight"])
    assert parts["random"]["raw"] == b"xyz"
    assert parts["random"]["gauss"] is None
    assert counters == {"frames": 10, "elapsed_s": 0.5}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint"]


def test_inventory_holds_sizes_and_digests(tmp_path: Path) -> None:
    """The manifest lists every file with its true size."""
    save_checkpoint(tmp_path / "checkpoint", PARTS, {})
    manifest = json.loads((tmp_path / "checkpoint" / "manifest.json").read_text())
    assert manifest["format_version"] == 1
    files = {path.name: path.stat().st_size for path in (tmp_path / "checkpoint").glob("*.pt")}
    assert {name: entry["size"] for name, entry in manifest["files"].items()} == files
    assert all(len(entry["sha256"]) == 64 for entry in manifest["files"].values())


def _steps(monkeypatch: pytest.MonkeyPatch, fail_at: int, error: Callable[[], BaseException]) -> None:
    """Make the `fail_at`-th system step (write, folder sync, rename, removal) of a save fail."""
    count = {"n": 0}

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            count["n"] += 1
            if count["n"] == fail_at:
                raise error()
            return original(*arguments, **keywords)

        return call

    monkeypatch.setattr(checkpoint, "_write_file", counted(checkpoint._write_file))
    monkeypatch.setattr(checkpoint, "_sync_folder", counted(checkpoint._sync_folder))
    monkeypatch.setattr(checkpoint, "_remove", counted(checkpoint._remove))
    monkeypatch.setattr(Path, "rename", counted(Path.rename))


@pytest.mark.parametrize("step", range(1, 11))
def test_death_at_any_step_leaves_a_loadable_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Dying before any system step of a save leaves the old or the new checkpoint whole, and saving works again."""
    path = tmp_path / "checkpoint"
    save_checkpoint(path, newer(1.0), {"frames": 1})
    with monkeypatch.context() as patch:
        _steps(patch, step, KilledError)
        with pytest.raises(KilledError):
            save_checkpoint(path, newer(2.0), {"frames": 2})
    parts, counters = load_checkpoint(path)
    assert counters["frames"] in (1, 2)
    assert torch.equal(parts["model"]["weight"], torch.full((2, 3), float(counters["frames"])))
    save_checkpoint(path, newer(3.0), {"frames": 3})
    assert load_checkpoint(path)[1] == {"frames": 3}
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint"]


def test_the_steps_above_are_all_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save over an old checkpoint takes ten steps, so that the test above covers each."""
    path = tmp_path / "checkpoint"
    save_checkpoint(path, newer(1.0), {})
    _steps(monkeypatch, 11, KilledError)
    save_checkpoint(path, newer(2.0), {})
    with pytest.raises(KilledError):
        save_checkpoint(path, newer(2.0), {})


@pytest.mark.parametrize("step", range(1, 8))
def test_full_disk_is_a_clear_error_and_keeps_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """No space at any step up to the renaming raises an error that says so, with the old checkpoint loadable."""
    path = tmp_path / "checkpoint"
    save_checkpoint(path, newer(1.0), {"frames": 1})
    with monkeypatch.context() as patch:
        _steps(patch, step, lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        with pytest.raises(CheckpointError, match=r"could not be written \(No space left on device\).*is intact in"):
            save_checkpoint(path, newer(2.0), {"frames": 2})
    assert load_checkpoint(path)[1] == {"frames": 1}
    assert not (tmp_path / "checkpoint.partial").exists()


def test_missing_checkpoint(tmp_path: Path) -> None:
    """A folder that is not there is refused by name."""
    with pytest.raises(CheckpointError, match=r"nothing is not a complete checkpoint.*no such folder"):
        load_checkpoint(tmp_path / "nothing")


def test_partial_checkpoint_is_refused(tmp_path: Path) -> None:
    """A folder without a manifest is refused, and the message lists what is there."""
    path = tmp_path / "checkpoint"
    save_checkpoint(path, PARTS, {})
    (path / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"not a complete checkpoint.*manifest\.json.*model\.pt"):
        load_checkpoint(path)


def test_missing_part_is_refused(tmp_path: Path) -> None:
    """A file of the inventory that is gone is named."""
    path = tmp_path / "checkpoint"
    save_checkpoint(path, PARTS, {})
    (path / "model.pt").unlink()
    with pytest.raises(CheckpointError, match=r"model\.pt is missing"):
        load_checkpoint(path)


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    """A file of another size than the inventory says is refused with both sizes."""
    path = tmp_path / "checkpoint"
    save_checkpoint(path, PARTS, {})
    content = (path / "model.pt").read_bytes()
    (path / "model.pt").write_bytes(content[:-7])
    with pytest.raises(
        CheckpointError, match=rf"model\.pt is damaged.*{len(content)} bytes, found {len(content) - 7} bytes"
    ):
        load_checkpoint(path)


def test_flipped_bit_is_refused(tmp_path: Path) -> None:
    """One changed bit is found by its digest."""
    path = tmp_path / "checkpoint"
    save_checkpoint(path, PARTS, {})
    content = bytearray((path / "random.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "random.pt").write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match=r"random\.pt is damaged.*SHA-256"):
        load_checkpoint(path)


def test_newer_format_is_refused(tmp_path: Path) -> None:
    """A checkpoint of a newer format is refused with both versions and the way out."""
    path = tmp_path / "checkpoint"
    save_checkpoint(path, PARTS, {})
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "format_version": 2}))
    with pytest.raises(CheckpointError, match=r"newer rl-trainers.*format 1 or older, found format 2.*Upgrade"):
        load_checkpoint(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format_version": "1", "files": {}, "counters": {}}'])
def test_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    """A manifest that is not one is refused."""
    path = tmp_path / "checkpoint"
    save_checkpoint(path, PARTS, {})
    (path / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged"):
        load_checkpoint(path)


def test_manifest_cannot_point_outside(tmp_path: Path) -> None:
    """A file name that leaves the folder is refused."""
    path = tmp_path / "checkpoint"
    save_checkpoint(path, PARTS, {})
    manifest = json.loads((path / "manifest.json").read_text())
    (tmp_path / "model.pt").write_bytes((path / "model.pt").read_bytes())
    files = {"../model.pt": manifest["files"]["model.pt"]}
    (path / "manifest.json").write_text(json.dumps({**manifest, "files": files}))
    with pytest.raises(CheckpointError, match="is missing"):
        load_checkpoint(path)
