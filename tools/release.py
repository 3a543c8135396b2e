"""Prepare the release of one package: its version, its changelog, the ranges of those that depend on it, its tag.

Nothing is committed or tagged: look at the difference, then run the commands that are printed at the end.
"""

import argparse
import datetime
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from workspace import ROOT, VERSION, Package, WorkspaceError, fail, load_packages, run, select

BUMPS = ("major", "minor", "patch")
_UNRELEASED = re.compile(r"^## Unreleased\n+(?P<entries>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(r'"([^"\n]+)"')


@dataclass(frozen=True)
class Release:
    """What a release changes.

    Attributes:
        tag: name of its tag, `rl-specs-v0.2.0`.
        files: the new text of each file that changes.
    """

    tag: str
    files: Mapping[Path, str]


def next_version(current: str, wanted: str) -> str:
    """The version to release.

    Args:
        current: version of the package now.
        wanted: `major`, `minor`, `patch`, or a version.
    Raises:
        WorkspaceError: `wanted` is none of these, or not above `current`.
    """
    now = Version(current)
    if wanted in BUMPS:
        parts = list(now.release) + [0] * (3 - len(now.release))
        place = BUMPS.index(wanted)
        return ".".join(str(number) for number in (*parts[:place], parts[place] + 1, *[0] * (2 - place)))
    try:
        version = Version(wanted)
    except InvalidVersion:
        raise WorkspaceError(f"version: expected {', '.join(BUMPS)} or a version like 0.2.0, found {wanted}") from None
    if version <= now:
        raise WorkspaceError(f"version {wanted} is not above {current}, the version now")
    if len(version.release) != 3:
        raise WorkspaceError(f"version {wanted} needs three numbers, like 0.2.0")
    return str(version)


def compatible_range(version: str) -> str:
    """The range that dependents declare: up to the next minor version, `~=0.2.0`."""
    major, minor, *_ = Version(version).release
    return f"~={major}.{minor}.0"


def release_changelog(text: str, version: str, date: datetime.date) -> str:
    """The changelog with what was unreleased under the new version, and an empty section for what comes next.

    Raises:
        WorkspaceError: there is no section `## Unreleased`, or it is empty.
    """
    match = _UNRELEASED.search(text)
    if match is None:
        raise WorkspaceError("CHANGELOG.md has no section ## Unreleased")
    entries = match["entries"].strip()
    if not entries:
        raise WorkspaceError("CHANGELOG.md says nothing under ## Unreleased. Write there what this release changes")
    section = f"## Unreleased\n\n## {version} - {date.isoformat()}\n\n{entries}\n"
    rest = text[match.end() :]
    return text[: match.start()] + section + (f"\n{rest}" if rest else "")


def replace_range(text: str, name: str, version: str) -> str:
    """A `pyproject.toml` whose requirements on `name` admit `version`; those that already do stay as they are."""

    def replace(match: re.Match[str]) -> str:
        try:
            requirement = Requirement(match[1])
        except InvalidRequirement:
            return match[0]
        if canonicalize_name(requirement.name) != name or not requirement.specifier:
            return match[0]
        if requirement.specifier.contains(version, prereleases=True):
            return match[0]
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        marker = f"; {requirement.marker}".replace('"', "'") if requirement.marker else ""
        return f'"{requirement.name}{extras}{compatible_range(version)}{marker}"'

    return _QUOTED.sub(replace, text)


def plan(root: Path, name: str, wanted: str, date: datetime.date) -> Release:
    """What releasing a package changes; writes nothing.

    Args:
        root: root of the repository.
        name: distribution name.
        wanted: `major`, `minor`, `patch`, or a version.
        date: day of the release.
    Raises:
        WorkspaceError: no such package, no such version, or nothing in its changelog.
    """
    packages = load_packages(root)
    (package,) = select(packages, [name])
    version = next_version(package.version, wanted)
    changelog = package.folder / "CHANGELOG.md"
    files = {
        package.about: VERSION.sub(f'__version__ = "{version}"', package.about.read_text()),
        changelog: release_changelog(changelog.read_text(), version, date),
    }
    for path in _manifests(root, packages):
        text = path.read_text()
        changed = replace_range(text, package.name, version)
        if changed != text:
            files[path] = changed
    return Release(f"{package.name}-v{version}", files)


def _manifests(root: Path, packages: Sequence[Package]) -> Iterator[Path]:
    yield root / "pyproject.toml"
    for package in packages:
        yield package.folder / "pyproject.toml"


def refuse_dirty_tree(root: Path) -> None:
    """Raise a `WorkspaceError` if anything in the working tree is not committed."""
    status = run(["git", "status", "--porcelain"], cwd=root).rstrip()
    if status:
        raise WorkspaceError(f"there are uncommitted changes. Commit or remove them first:\n{status}")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", help="distribution name, rl-specs")
    parser.add_argument("version", help="major, minor, patch, or the version itself")
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    parser.add_argument("--root", type=Path, default=ROOT, help="root of the repository (default: this one)")
    arguments = parser.parse_args(argv)
    root = arguments.root.resolve()
    try:
        if not arguments.dry_run:
            refuse_dirty_tree(root)
        release = plan(root, arguments.package, arguments.version, datetime.date.today())
    except WorkspaceError as error:
        return fail(error)
    paths = [str(path.relative_to(root)) for path in release.files]
    for path, text in release.files.items():
        if not arguments.dry_run:
            path.write_text(text)
    print("would change:" if arguments.dry_run else "changed:", *paths, sep="\n  ")
    moved = [path.parent.name for path in release.files if path.name == "pyproject.toml" and path.parent != root]
    if moved:
        print(f"these admit the new version from now on, so release them too: {', '.join(moved)}")
    print(f"tag: {release.tag}")
    subject = f"{release.tag.rpartition('-v')[0]}: release {release.tag.rpartition('-v')[2]}"
    print(f'git commit -m "{subject}" -- {" ".join(paths)}\ngit tag {release.tag}')
    return 0


if __name__ == "__main__":
    sys.exit(main())
