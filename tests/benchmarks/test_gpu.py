"""The command for a machine with a GPU runs from end to end on one without, and says there what it did not do."""

import json
import subprocess
import sys
from pathlib import Path

import check_kernels
import gpu
import pytest
import run
import torch
import trees
from _report import NOT_MEASURED

from rl_cuda import _kernels, why_unavailable


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What was asked to be measured; nothing is."""
    asked: list[list[str]] = []

    def main(options: list[str]) -> int:
        asked.append(options)
        return 0

    monkeypatch.setattr(run, "main", main)
    return asked


def test_everything_runs_without_a_gpu(tmp_path: Path, measured: list[list[str]]) -> None:
    """On a CPU the comparisons are made, the tools are said not to have run, and the trees are measured after that."""
    arguments = ["--device", "cpu", "--quick", "--output", str(tmp_path), "--peers", sys.executable]
    assert gpu.main(arguments) == 0
    text = (tmp_path / "kernels.md").read_text()
    assert "| comparisons | passed | " in text
    assert all(f"| {tool} | not run | there is no GPU at work |" in text for tool in gpu.TOOLS)
    assert measured == [["trees", "--output", str(tmp_path), "--quick", "--peers", sys.executable]]


def test_a_failed_check_shows_in_the_exit_status(
    tmp_path: Path, measured: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a tool that finds something the check has failed, with the tool's last words, and the status is 1."""
    sanitizer = tmp_path / "compute-sanitizer"
    sanitizer.write_text('#!/bin/sh\necho "ERROR SUMMARY: 3 errors of $2"\ntest "$2" != racecheck\n')
    sanitizer.chmod(0o755)
    (tmp_path / "check_kernels.py").touch()
    monkeypatch.setattr(gpu, "CASES", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert gpu.main(["--device", "cuda", "--only-checks", "--output", str(tmp_path)]) == 1
    text = (tmp_path / "kernels.md").read_text()
    assert "| memcheck | passed | ERROR SUMMARY: 3 errors of memcheck |" in text
    assert "| racecheck | **failed** | ERROR SUMMARY: 3 errors of racecheck |" in text
    assert measured == []


def test_without_the_tools_the_checks_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without compute-sanitizer is told where to name it; a check that hangs is stopped and has failed."""
    monkeypatch.setattr(gpu, "find_sanitizer", lambda: None)
    monkeypatch.setattr(gpu, "check", lambda name, *_: gpu.Check(name, True, "ok"))
    assert [each.is_passed for each in gpu.all_checks("cuda", 1.0)] == [True, None, None, None]
    monkeypatch.undo()
    slow = gpu.check("slow", [sys.executable, "-c", "import time; time.sleep(60)"], "cpu", 0.5)
    assert (slow.is_passed, slow.words) == (False, "stopped after 0.5 s")


def test_peers_that_cannot_be_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network the rest is measured all the same."""

    def fail() -> Path:
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(gpu, "peers_python", fail)
    assert gpu.peers_or_none() == Path(sys.executable)


@pytest.mark.parametrize("work", ["update", "sample", "cycle"])
@pytest.mark.parametrize("unit", ["us", "%"])
def test_trees_are_measured_on_any_device(
    work: str, unit: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plain torch form reports a figure above zero for each size of tree and batch."""
    monkeypatch.setitem(vars(_kernels), "why_unavailable", why_unavailable)  # what the script changes is undone
    sizes = ["--leaves", "5", "12", "--batches", "16", "100", "--seconds", "0.001"]
    monkeypatch.setattr(
        sys, "argv", ["trees.py", "--form", "torch", "--work", work, "--device", "cpu", "--unit", unit, *sizes]
    )
    threads = torch.get_num_threads()
    try:
        trees.main()
    finally:
        torch.set_num_threads(threads)
    found = json.loads(capsys.readouterr().out)
    assert found["unit"] == unit
    assert set(found["values"]) == {f"2^{power} leaves, {batch}" for power in (5, 12) for batch in (16, 100)}
    assert all(value >= 0 for value in found["values"].values())


def test_kernels_without_a_gpu_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for the kernels on a CPU, the scripts end with the reason, in the form that goes into the table."""
    monkeypatch.setattr(sys, "argv", ["trees.py", "--form", "kernels", "--work", "update", "--device", "cpu"])
    with pytest.raises(SystemExit, match=f"{NOT_MEASURED}the kernels need a GPU"):
        trees.main()
    if not torch.cuda.is_available():
        monkeypatch.setattr(sys, "argv", ["check_kernels.py"])
        with pytest.raises(SystemExit, match=f"{NOT_MEASURED}the kernels need a GPU"):
            check_kernels.main()


def test_bytes_by_hand() -> None:
    """1,024 leaves have 32 nodes and a root above: what an update and a draw of 2 move at the least."""
    assert trees.levels_above(1024) == [32, 1]
    assert trees.bytes_moved("update", 1024, 2) == 8 * (3 * 2 + 33 * 2 + 33 * 1)
    assert trees.bytes_moved("sample", 1024, 2) == 8 * 2 * (3 + 32 * 2)
