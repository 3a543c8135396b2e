"""The check of imports against declarations and layers."""

from pathlib import Path

import check_layers
import pytest
from workspace import ROOT, WorkspaceError, load_packages


def source(root: Path, package: str, text: str) -> list[str]:
    """Violations once a module with this text is added to a package."""
    (root / "packages" / package / "src" / package / "module.py").write_text(text)
    return check_layers.check(root)


def test_good_workspace_has_no_violations(root: Path) -> None:
    """Declared imports that point downwards pass, in source and tests, relative imports included."""
    assert source(root, "high", "import json\nimport low.inner\nimport packaging.version\nfrom . import other\n") == []


@pytest.mark.parametrize(
    ("package", "text", "line", "words"),
    [
        ("low", "import high\n", 1, "a layer above"),
        ("low", "def f():\n    import high\n", 2, "a layer above"),
        ("low", "from side.inner import x\n", 1, "the same layer"),
        ("low", "import importlib\nimportlib.import_module('side.inner')\n", 2, "the same layer"),
        ("low", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import high\n", 3, "a layer above"),
        ("high", "import side\n", 1, "side is not declared by high"),
        ("low", "import os\n\nimport numpy as np\n", 3, "numpy is not declared by low"),
        ("low", "import matplotlib.pyplot\n", 1, "comes with an extra"),
        ("low", "def broken(:\n", 1, "invalid syntax"),
    ],
)
def test_violation_is_found_at_its_line(root: Path, package: str, text: str, line: int, words: str) -> None:
    """Each kind of forbidden import is reported once, with file, line and the reason."""
    (found,) = source(root, package, text)
    assert found.startswith(f"packages/{package}/src/{package}/module.py:{line}: ")
    assert words in found


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    import matplotlib\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import matplotlib\n",
        "try:\n    import matplotlib\nexcept ImportError:\n    matplotlib = None\n",
    ],
)
def test_extra_may_be_imported_where_it_is_needed(root: Path, text: str) -> None:
    """What only an extra brings may be imported inside a function, for types, or where its absence is caught."""
    assert source(root, "low", text) == []


def test_tests_may_use_the_test_extra_and_no_more(root: Path) -> None:
    """Tests may import pytest, hypothesis and the test extra; not other extras, nor packages that are not declared."""
    tests = root / "packages" / "side" / "tests"
    (tests / "test_more.py").write_text("import pytest, hypothesis, packaging\n\n\nimport low\nimport matplotlib\n")
    found = check_layers.check(root)
    assert [text.split()[0] for text in found] == [f"packages/side/tests/test_more.py:{line}:" for line in (4, 5)]


def test_programs_that_make_fixtures_may_use_anything(root: Path) -> None:
    """What makes the data of tests runs elsewhere, so its imports are not those of the package."""
    folder = root / "packages" / "low" / "tests" / "fixtures"
    folder.mkdir()
    (folder / "make.py").write_text("import matplotlib\n")
    assert check_layers.check(root) == []


def test_dependency_upwards_is_a_violation(root: Path) -> None:
    """A package that declares a dependency on a higher layer is reported, whether it imports it or not."""
    path = root / "packages" / "side" / "pyproject.toml"
    path.write_text(path.read_text().replace("dependencies = []", 'dependencies = ["high"]'))
    (found,) = check_layers.check(root)
    assert "side (layer 0) depends on high (layer 1)" in found


def test_unknown_package_lists_what_there_is(root: Path) -> None:
    """A misspelt package name is an error that lists the packages and the nearest one."""
    with pytest.raises(WorkspaceError, match=r"no package hihg \(there are: low, side, high\)\. Did you mean high\?"):
        check_layers.check(root, ["hihg"])


def test_package_without_a_layer_is_an_error(root: Path) -> None:
    """A package that the layers do not name cannot be checked, and the error says where to add it."""
    path = root / "pyproject.toml"
    path.write_text(path.read_text().replace("side | low", "low"))
    with pytest.raises(WorkspaceError, match="side has no place in"):
        check_layers.check(root)


def test_this_repository_obeys_its_layers(capsys: pytest.CaptureFixture[str]) -> None:
    """Every import of every package here is declared and points downwards."""
    assert check_layers.main([]) == 0, capsys.readouterr().out


def test_every_package_here_has_a_layer() -> None:
    """The layers name exactly the eight packages."""
    assert len(load_packages(ROOT)) == 8
