"""The release helper."""

import datetime
import subprocess
from pathlib import Path

import pytest
import release
from workspace import WorkspaceError

DAY = datetime.date(2025, 6, 1)


@pytest.mark.parametrize(
    ("now", "wanted", "version"),
    [
        ("0.1.0", "patch", "0.1.1"),
        ("0.1.9", "minor", "0.2.0"),
        ("0.9.1", "major", "1.0.0"),
        ("0.1.0", "0.3.0", "0.3.0"),
        ("0.2.0", "0.10.0", "0.10.0"),
    ],
)
def test_next_version(now: str, wanted: str, version: str) -> None:
    """A bump raises its number and clears those after it; a version is taken as it is."""
    assert release.next_version(now, wanted) == version


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("0.1.0", "is not above 0.1.0"),
        ("0.0.9", "is not above"),
        ("soon", "major, minor, patch"),
        ("2", "three numbers"),
    ],
)
def test_wrong_version_is_refused(wanted: str, words: str) -> None:
    """A version that is not above the present one, or none at all, is an error that says what was expected."""
    with pytest.raises(WorkspaceError, match=words):
        release.next_version("0.1.0", wanted)


def test_minor_release_moves_version_changelog_and_ranges(root: Path) -> None:
    """A minor release changes the version, dates the changelog and moves the dependents' ranges, and nothing else."""
    planned = release.plan(root, "low", "minor", DAY)
    package = root / "packages" / "low"
    high = root / "packages" / "high" / "pyproject.toml"
    assert planned.tag == "low-v0.2.0"
    assert set(planned.files) == {package / "src/low/__about__.py", package / "CHANGELOG.md", high}
    assert planned.files[package / "src/low/__about__.py"] == '"""Version."""\n\n__version__ = "0.2.0"\n'
    assert planned.files[package / "CHANGELOG.md"] == (
        "# Changelog\n\n## Unreleased\n\n## 0.2.0 - 2025-06-01\n\n- New: fast.\n\n## 0.1.0 - 2025-01-02\n\n- First.\n"
    )
    assert '"low~=0.2.0"' in planned.files[high]
    assert '"packaging>=24"' in planned.files[high]


def test_patch_release_leaves_ranges_alone(root: Path) -> None:
    """A patch release is inside the ranges that dependents declare, so their files stay as they are."""
    planned = release.plan(root, "low", "patch", DAY)
    assert root / "packages" / "high" / "pyproject.toml" not in planned.files


def test_extras_and_markers_survive() -> None:
    """Moving a range keeps extras and markers, and leaves similar names alone."""
    text = """x = ["low[plot]~=0.1.0", "low-level~=0.1.0", "Low~=0.1.0; python_version < '4'"]"""
    moved = """x = ["low[plot]~=0.2.0", "low-level~=0.1.0", "Low~=0.2.0; python_version < '4'"]"""
    assert release.replace_range(text, "low", "0.2.0") == moved


@pytest.mark.parametrize("text", ["# Changelog\n", "# Changelog\n\n## Unreleased\n\n## 0.1.0\n\n- First.\n"])
def test_release_without_entries_is_refused(text: str) -> None:
    """A changelog that says nothing about the release is an error."""
    with pytest.raises(WorkspaceError, match="## Unreleased"):
        release.release_changelog(text, "0.2.0", DAY)


def test_command_writes_files_and_names_the_tag(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command changes the files, prints the tag, and names the packages that need a release too."""
    assert release.main(["low", "minor", "--root", str(root)]) == 0
    output = capsys.readouterr().out
    assert "tag: low-v0.2.0" in output
    assert "release them too: high" in output
    assert '__version__ = "0.2.0"' in (root / "packages/low/src/low/__about__.py").read_text()


def test_dry_run_changes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run says what would change and leaves the working tree clean."""
    assert release.main(["low", "minor", "--dry-run", "--root", str(root)]) == 0
    assert "would change" in capsys.readouterr().out
    assert subprocess.run(["git", "-C", root, "status", "--porcelain"], capture_output=True, check=True).stdout == b""


def test_dirty_tree_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With uncommitted changes the command stops and lists them."""
    (root / "stray.txt").write_text("x")
    assert release.main(["low", "minor", "--root", str(root)]) == 1
    assert "stray.txt" in capsys.readouterr().err


def test_unknown_package_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A package that is not there is an error that lists those that are."""
    assert release.main(["lwo", "minor", "--root", str(root)]) == 1
    assert "Did you mean low?" in capsys.readouterr().err
