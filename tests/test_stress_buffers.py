"""Threads and processes at work on replay buffers."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from stress_buffers import rows, torn

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "stress_buffers.py"


@pytest.mark.parametrize(
    ("seconds", "processes", "kinds"),
    [(3, 0, 7), pytest.param(1800, 4, 10, marks=[pytest.mark.slow, pytest.mark.timeout(2400)])],
)
def test_rows_are_whole_and_memory_is_flat(seconds: int, processes: int, kinds: int, tmp_path: Path) -> None:
    """While threads and processes write, draw, prioritize and save, no row is torn and memory does not grow."""
    command = [sys.executable, str(SCRIPT), "--seconds", str(seconds), "--processes", str(processes)]
    command += ["--output", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 280, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["errors"] == []
    assert len(report["calls"]) == kinds
    assert all(count > 0 for count in report["calls"].values())
    with (tmp_path / "stress.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 30
    assert {line["rows torn"] for line in lines} == {"0"}
    assert all(int(line["process 0, MiB"]) > 0 for line in lines)
    assert int(lines[-1]["read"]) == report["calls"]["read"]
    assert "Errors:\nnone" in (tmp_path / "stress.md").read_text()


def test_torn_rows_are_counted() -> None:
    """A row one entry of which belongs to another row is torn."""
    batch = rows(0, 5)
    assert torn(batch) == 0
    batch["in", "b"][2, 299] = 3.0
    batch["in", "c"][4] = 0
    assert torn(batch) == 2
