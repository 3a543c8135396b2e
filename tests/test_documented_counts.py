"""Numbers in the documentation that tests know."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]


def registry_tests() -> ModuleType:
    """The tests of rl-envs over everything that Gymnasium registers."""
    path = ROOT / "packages" / "rl-envs" / "tests" / "gym" / "test_registry.py"
    spec = importlib.util.spec_from_file_location("registry_tests", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_environments_that_are_compared() -> None:
    """The page on adapters has the numbers of registered environments that are checked and that are left out."""
    page = (ROOT / "docs" / "concepts" / "adapters.md").read_text()
    counts = re.search(r"compare (\d+) of the environments(?:.|\n)*The (\d+) that they leave out", page)
    assert counts is not None
    tests = registry_tests()
    assert [int(count) for count in counts.groups()] == [len(tests.CHECKED), len(tests.NOT_CHECKED)]
