"""Wheels of the workspace, and an environment that holds only what one of them declares."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from workspace import Package, WorkspaceError, read_toml, run

TEST_TOOLS = ("pytest", "pytest-timeout", "hypothesis")

# What the caller's environment says about its own packages and Python must not reach the isolated one.
_DROPPED = ("PIP_CONSTRAINT", "UV_CONSTRAINT", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Environment variables for uv and Python: no foreign constraints or paths, local wheel folders kept."""
    clean = {name: value for name, value in environment.items() if name not in _DROPPED}
    links = environment.get("UV_FIND_LINKS") or environment.get("PIP_FIND_LINKS")
    return clean | {"UV_FIND_LINKS": links} if links else clean


def find_uv() -> str:
    """Path of the uv program, from this Python's environment or PATH."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise WorkspaceError("uv was not found. Run this with `hatch run`, or `pip install uv`")
    return found


def build_wheels(root: Path, packages: Sequence[Package], dist: Path) -> dict[str, Path]:
    """Build the wheel of each package and of the meta-package.

    Args:
        root: root of the repository.
        packages: what to build.
        dist: folder for the wheels, emptied first.
    Returns:
        The wheel of each distribution name.
    Raises:
        WorkspaceError: a build failed, or made a wheel for another Python than any.
    """
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir(parents=True)
    environment, uv = clean_environment(os.environ), find_uv()

    def build(folder: Path) -> None:
        run([uv, "build", "--wheel", "--quiet", "--out-dir", str(dist), str(folder)], cwd=root, env=environment)

    folders = [package.folder for package in packages]
    if "project" in read_toml(root / "pyproject.toml"):
        folders.append(root)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(build, folders))
    return {canonicalize_name(parse_wheel_filename(path.name)[0]): path for path in sorted(dist.glob("*.whl"))}


def test_requirements(root: Path) -> list[str]:
    """What runs tests, with the version ranges of the root environment."""
    environments = read_toml(root / "pyproject.toml")["tool"]["hatch"]["envs"]
    lines: list[str] = environments["default"]["dependencies"]
    return [line for line in lines if canonicalize_name(Requirement(line).name) in TEST_TOOLS]


def write_pytest_ini(root: Path, path: Path) -> None:
    """Write pytest's options from the root `pyproject.toml`, without the paths that mean something only there."""
    options = read_toml(root / "pyproject.toml")["tool"]["pytest"]["ini_options"]
    lines = ["[pytest]"]
    for name, value in options.items():
        if name not in ("testpaths", "pythonpath"):
            lines.append(f"{name} = " + ("\n    ".join(["", *value]) if isinstance(value, list) else str(value)))
    path.write_text("\n".join(lines) + "\n")


@dataclass(frozen=True)
class Environment:
    """A virtual environment that takes the workspace's packages from their wheels.

    Attributes:
        folder: where it lives, the same for every package, so that compiled bytecode can be shared.
        wheels: the wheel of each package of the workspace.
        root: root of the repository, for its pins of third parties.
    """

    folder: Path
    wheels: Mapping[str, Path]
    root: Path

    @property
    def executable(self) -> Path:
        """Its Python."""
        return self.folder / "venv" / "bin" / "python"

    def create(self) -> None:
        """Make it anew, empty, for the Python that runs this."""
        shutil.rmtree(self.folder / "venv", ignore_errors=True)
        self._uv("venv", "--quiet", "--python", sys.executable, str(self.folder / "venv"))

    def install(self, requirements: Sequence[str]) -> None:
        """Install requirements and check that what is installed fits together.

        Raises:
            WorkspaceError: the requirements cannot be met, or contradict what is installed.
        """
        constraints = self.folder / "constraints.txt"
        constraints.write_text("\n".join(self._constraints()) + "\n")
        python = ("--python", str(self.executable))
        named = [self._from_wheel(requirement) for requirement in requirements]
        self._uv("pip", "install", "--quiet", *python, "--constraints", str(constraints), *named)
        self._uv("pip", "check", "--quiet", *python)

    def python(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run its Python, cut off from the caller's paths and variables, and return what it printed.

        Raises:
            WorkspaceError: it failed.
        """
        command = [str(self.executable), "-I", "-X", f"pycache_prefix={self.folder / 'pycache'}", *arguments]
        return run(command, cwd=cwd or self.folder, env=clean_environment(os.environ))

    def python_error(self, *arguments: str) -> str:
        """Run its Python for something that is known to fail, and return what it printed."""
        try:
            return f"failed once, then passed: {arguments}\n{self.python(*arguments)}"
        except WorkspaceError as error:
            return str(error)

    def _uv(self, *arguments: str) -> str:
        return run([find_uv(), *arguments], cwd=self.folder, env=clean_environment(os.environ))

    def _from_wheel(self, requirement: str) -> str:
        if requirement.startswith("/"):
            return requirement
        parsed = Requirement(requirement)
        wheel = self.wheels.get(canonicalize_name(parsed.name))
        extras = f"[{','.join(sorted(parsed.extras))}]" if parsed.extras else ""
        return requirement if wheel is None else f"{parsed.name}{extras} @ {wheel.as_uri()}"

    def _constraints(self) -> list[str]:
        """The pins of third parties, and each wheel as the only source of its package."""
        path = Path(os.environ.get("RL_CONSTRAINTS") or self.root / "tools" / "constraints.txt")
        lines = path.read_text().splitlines() if path.exists() else []
        pins = [line for line in lines if line.strip() and not line.startswith("#") and "${PWD}" not in line]
        return [*pins, *(f"{name} @ {wheel.as_uri()}" for name, wheel in self.wheels.items())]
