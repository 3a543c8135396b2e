"""The check of types."""

from pathlib import Path

import check_types
import pytest
from workspace import load_packages


def test_every_folder_is_checked(root: Path) -> None:
    """Sources are one call, each tests folder and each other folder a call of its own."""
    (root / "tools").mkdir()
    (root / "tools" / "x.py").write_text("")
    (root / "packages/low/hatch_build.py").write_text("")
    names = [name for name, _ in check_types.targets(root, load_packages(root), is_everything=True)]
    assert names == ["source", "low tests", "side tests", "high tests", "low build hook", "tools"]


def test_type_error_is_found(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A type error makes the command fail with the call that found it and mypy's words."""
    (root / "packages/low/tests/test_low.py").write_text("x: int = 'a'\n")
    assert check_types.main(["--root", str(root), "--package", "low"]) == 1
    captured = capsys.readouterr()
    assert "Incompatible types" in captured.out
    assert "low tests" in captured.err
