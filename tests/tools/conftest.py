"""A small workspace of two pure packages, `low` and `high`, for the tools to work on."""

import subprocess
from pathlib import Path

import pytest

_ROOT = """
[tool.importlinter]
[[tool.importlinter.contracts]]
type = "layers"
layers = ["high", "side | low"]

[tool.hatch.envs.default]
dependencies = ["pytest>=8.3", "pytest-timeout>=2.3", "hypothesis>=6.100"]

[tool.pytest.ini_options]
addopts = "--import-mode=importlib --strict-markers"
filterwarnings = ["error"]
timeout = 60
pythonpath = ["tools"]
"""

_PACKAGE = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
dynamic = ["version"]
requires-python = ">=3.11"
dependencies = [{dependencies}]

[project.optional-dependencies]
plot = ["matplotlib>=3"]
test = ["packaging>=24"]

[tool.hatch.version]
path = "src/{name}/__about__.py"

[tool.hatch.build.targets.wheel]
packages = ["src/{name}"]
"""


def write_package(root: Path, name: str, dependencies: str) -> None:
    """Write a package with one module and one passing test."""
    folder = root / "packages" / name
    (folder / "src" / name).mkdir(parents=True)
    (folder / "tests").mkdir()
    (folder / "pyproject.toml").write_text(_PACKAGE.format(name=name, dependencies=dependencies))
    (folder / "CHANGELOG.md").write_text(
        "# Changelog\n\n## Unreleased\n\n- New: fast.\n\n## 0.1.0 - 2025-01-02\n\n- First.\n"
    )
    (folder / "src" / name / "__init__.py").write_text('"""A package."""\n')
    (folder / "src" / name / "__about__.py").write_text('"""Version."""\n\n__version__ = "0.1.0"\n')
    (folder / "tests" / f"test_{name}.py").write_text(f"import {name}\n\n\ndef test_it() -> None:\n    assert {name}\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Root of a workspace: `low` and `side` below, `high` above, which depends on `low`; committed to git."""
    (tmp_path / "pyproject.toml").write_text(_ROOT)
    write_package(tmp_path, "low", '"packaging>=24"')
    write_package(tmp_path, "side", "")
    write_package(tmp_path, "high", '"low~=0.1.0", "packaging>=24"')
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(tmp_path)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "start"]):
        subprocess.run([*git, *command], check=True)
    return tmp_path
