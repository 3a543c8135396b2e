"""The workspace as the tools see it: which packages there are, what they declare, and who may import whom."""

import difflib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent

# Distributions whose import names are not their own name with "_" for "-".
_IMPORT_NAMES: Mapping[str, tuple[str, ...]] = {
    "hydra-core": ("hydra",),
    "pillow": ("PIL",),
    "pyyaml": ("yaml",),
    "pytest-timeout": ("pytest_timeout",),
    "opencv-python": ("cv2",),
}


class WorkspaceError(Exception):
    """The workspace, or what was asked of it, is not as a tool needs it; the message says what to do."""


@dataclass(frozen=True)
class Package:
    """One distribution of the workspace.

    Attributes:
        name: distribution name, `rl-specs`.
        folder: its folder, which holds `pyproject.toml`, `src` and `tests`.
        level: its layer; it may import the packages of lower layers only.
        dependencies: what it requires.
        extras: what each of its extras requires.
    """

    name: str
    folder: Path
    level: int
    dependencies: tuple[Requirement, ...]
    extras: Mapping[str, tuple[Requirement, ...]]

    @property
    def module(self) -> str:
        """Its import name, `rl_specs`."""
        return self.name.replace("-", "_")

    @property
    def source(self) -> Path:
        """Folder of its import package."""
        return self.folder / "src" / self.module

    @property
    def tests(self) -> Path:
        """Folder of its tests."""
        return self.folder / "tests"

    @property
    def about(self) -> Path:
        """File that holds its version."""
        return self.source / "__about__.py"

    @property
    def version(self) -> str:
        """Its version, as `__about__.py` states it."""
        match = VERSION.search(self.about.read_text())
        if match is None:
            raise WorkspaceError(f'{self.about}: no line of the form __version__ = "1.2.3"')
        return match["version"]

    def test_requirements(self) -> tuple[Requirement, ...]:
        """What its tests may use besides pytest and hypothesis: the `test` extra, own extras in it spelled out."""
        found: list[Requirement] = []
        for requirement in self.extras.get("test", ()):
            if canonicalize_name(requirement.name) == self.name:
                found += [inner for extra in sorted(requirement.extras) for inner in self.extras.get(extra, ())]
            else:
                found.append(requirement)
        return tuple(found)


VERSION = re.compile(r'^__version__ = "(?P<version>[^"]+)"$', re.MULTILINE)


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file, or a `WorkspaceError` that says what is wrong with it."""
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise WorkspaceError(f"{path} does not exist. Is this the root of the repository?") from None
    except tomllib.TOMLDecodeError as error:
        raise WorkspaceError(f"{path}: {error}") from None


def layers(root: Path) -> list[list[str]]:
    """Import names by layer, lowest first, from the import-linter contract in the root `pyproject.toml`."""
    contracts = read_toml(root / "pyproject.toml").get("tool", {}).get("importlinter", {}).get("contracts", [])
    for contract in contracts:
        if contract.get("type") == "layers":
            return [[name.strip() for name in re.split(r"[|:]", layer)] for layer in reversed(contract["layers"])]
    raise WorkspaceError(f"{root / 'pyproject.toml'}: no [[tool.importlinter.contracts]] of type layers")


def load_packages(root: Path) -> list[Package]:
    """Each package of the workspace, lowest layer first.

    Args:
        root: root of the repository.
    Raises:
        WorkspaceError: a package has no place in the layers, or a layer names a package that is not there.
    """
    level_of = {name: level for level, names in enumerate(layers(root)) for name in names}
    packages = [_load(pyproject, level_of) for pyproject in sorted(root.glob("packages/*/pyproject.toml"))]
    absent = sorted(set(level_of) - {package.module for package in packages})
    if absent:
        raise WorkspaceError(f"the layers name {', '.join(absent)}, but packages/ has no such package")
    return sorted(packages, key=lambda package: (package.level, package.name))


def _load(pyproject: Path, level_of: Mapping[str, int]) -> Package:
    project = read_toml(pyproject)["project"]
    name = canonicalize_name(project["name"])
    if name.replace("-", "_") not in level_of:
        raise WorkspaceError(f"{pyproject}: {name} has no place in [tool.importlinter] of the root pyproject.toml")
    return Package(
        name=name,
        folder=pyproject.parent,
        level=level_of[name.replace("-", "_")],
        dependencies=_requirements(project.get("dependencies", [])),
        extras={extra: _requirements(lines) for extra, lines in project.get("optional-dependencies", {}).items()},
    )


def _requirements(lines: Iterable[str]) -> tuple[Requirement, ...]:
    return tuple(Requirement(line) for line in lines)


def closure(package: Package, packages: Iterable[Package]) -> list[Package]:
    """The package and every package of the workspace that installing it brings along, lowest layer first."""
    by_name = {other.name: other for other in packages}
    found: dict[str, Package] = {}
    waiting = [package]
    while waiting:
        current = waiting.pop()
        found[current.name] = current
        names = {canonicalize_name(requirement.name) for requirement in current.dependencies}
        waiting += [by_name[name] for name in names if name in by_name and name not in found]
    return sorted(found.values(), key=lambda other: (other.level, other.name))


def select(packages: Sequence[Package], names: Sequence[str]) -> list[Package]:
    """The packages with these names, or all of them for no names."""
    known = {package.name: package for package in packages}
    unknown = [name for name in names if canonicalize_name(name) not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise WorkspaceError(f"no package {', '.join(unknown)} (there are: {', '.join(known)}).{hint}")
    return [known[canonicalize_name(name)] for name in names] if names else list(packages)


def import_names(requirement: Requirement) -> tuple[str, ...]:
    """Top-level names that a requirement makes importable."""
    name = canonicalize_name(requirement.name)
    return _IMPORT_NAMES.get(name, (name.replace("-", "_"),))


def run(command: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return what it printed.

    Raises:
        WorkspaceError: it is not installed or it failed; the message holds what it printed.
    """
    try:
        done = subprocess.run(command, cwd=cwd, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except FileNotFoundError:
        raise WorkspaceError(f"{command[0]} is not installed, or {cwd} does not exist") from None
    if done.returncode != 0:
        raise WorkspaceError(f"{' '.join(command)}\nexited with status {done.returncode}\n{done.stdout.rstrip()}")
    return done.stdout


def fail(message: object) -> int:
    """Print an error for the person at the terminal and return the exit status that goes with it."""
    print(f"error: {message}", file=sys.stderr)
    return 1
