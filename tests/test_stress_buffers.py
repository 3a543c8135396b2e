"""Threads and processes at work on replay buffers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "stress_buffers.py"


@pytest.mark.parametrize(
    ("seconds", "processes", "kinds"),
    [(3, 0, 6), pytest.param(1800, 4, 8, marks=[pytest.mark.slow, pytest.mark.timeout(2400)])],
)
def test_rows_are_whole_and_memory_is_flat(seconds: int, processes: int, kinds: int) -> None:
    """While threads and processes write, draw, prioritize and save, no row is torn and memory does not grow."""
    command = [sys.executable, str(SCRIPT), "--seconds", str(seconds), "--processes", str(processes)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 280, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["errors"] == []
    assert len(report["calls"]) == kinds
    assert all(count > 0 for count in report["calls"].values())
