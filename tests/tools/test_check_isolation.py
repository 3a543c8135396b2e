"""The check that each package stands alone, on a workspace of small packages without torch."""

import sys
from pathlib import Path

import check_isolation
import isolated_environment
import pytest
from workspace import ROOT, load_packages, run


def test_unexpected_modules_are_those_of_the_layers_above() -> None:
    """Beside rl-buffers no package above it may be there, nor what only they depend on; what it declares may."""
    packages = load_packages(ROOT)
    buffers = next(package for package in packages if package.name == "rl-buffers")
    unexpected = check_isolation.unexpected_modules(buffers, packages)
    assert {"gymnasium", "hydra", "rl_envs", "rl_trainers"} <= set(unexpected)
    assert not {"torch", "tensordict", "rl_specs", "rl_buffers"} & set(unexpected)


def test_callers_environment_stays_outside() -> None:
    """Constraints and paths of the caller do not reach the isolated environment; a local wheel folder does."""
    clean = isolated_environment.clean_environment(
        {"PATH": "/bin", "UV_CONSTRAINT": "c", "PYTHONPATH": "p", "PIP_FIND_LINKS": "/wheels"}
    )
    assert clean == {"PATH": "/bin", "PIP_FIND_LINKS": "/wheels", "UV_FIND_LINKS": "/wheels"}


def test_pytest_options_hold_there_too(tmp_path: Path) -> None:
    """The written options are those of the repository, without the paths of the repository."""
    isolated_environment.write_pytest_ini(ROOT, tmp_path / "pytest.ini")
    text = (tmp_path / "pytest.ini").read_text()
    assert "--import-mode=importlib" in text
    assert "filterwarnings = \n    error" in text
    assert "timeout = " in text
    assert "testpaths" not in text
    assert "pythonpath" not in text


def test_packages_stand_alone_or_are_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A test that uses what its package does not declare passes in the full environment and fails here, by name."""
    (root / "packages/high/tests/test_high.py").write_text("import side\n\n\ndef test_it() -> None:\n    assert side\n")
    packages = load_packages(root)
    folder = root / ".cache"
    wheels = isolated_environment.build_wheels(root, packages, folder / "dist")
    assert sorted(wheels) == ["high", "low", "side"]
    environment = isolated_environment.Environment(folder, wheels, root)
    environment.create()
    environment.install([*isolated_environment.test_requirements(root), "high"])
    low, _, high = packages
    assert check_isolation.run_tests(low, environment, root, "") == []
    assert "1 passed" in capsys.readouterr().out
    (problem,) = check_isolation.run_tests(high, environment, root, "")
    assert "No module named 'side'" in problem
    (root / "packages/high/tests/test_high.py").unlink()
    assert check_isolation.run_tests(high, environment, root, "") == ["there are no tests in packages/high/tests"]


def test_noisy_import_is_a_problem(tmp_path: Path) -> None:
    """An import that prints, sets an environment variable, or takes longer than the limit is reported."""
    busy = "end = time.process_time() + 0.05\nwhile time.process_time() < end:\n    pass\n"
    (tmp_path / "noisy.py").write_text("import os, time\nprint('hello')\nos.environ['X'] = '1'\n" + busy)
    environment = ThisPython(tmp_path, {}, ROOT)
    problems = check_isolation.check_import("noisy", ["json", "nowhere"], environment, 0.01)
    assert problems[0] == "json can be imported, though nothing that is installed declares it"
    assert problems[1:3] == ["importing noisy prints: hello", "importing noisy changes environment variables"]
    assert "the limit is 0.01 s" in problems[3]
    assert len(problems) == 4


class ThisPython(isolated_environment.Environment):
    """The Python that runs the tests in place of an isolated one, since torch is there already."""

    def python(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run it with the folder's modules importable."""
        probe, *names = arguments
        code = f"import sys, runpy; sys.path.insert(0, {str(self.folder)!r}); sys.argv = {[probe, *names]!r}; "
        code += "runpy.run_path(sys.argv[0], run_name='__main__')"
        return run([sys.executable, "-c", code], cwd=self.folder)


@pytest.mark.parametrize("tool", ["check_layers", "check_types", "check_isolation", "release"])
def test_help_describes_the_tool(tool: str) -> None:
    """Each tool runs as a script and prints what it does and its options."""
    output = run([sys.executable, str(ROOT / "tools" / f"{tool}.py"), "--help"], cwd=ROOT)
    assert "usage:" in output
    assert "--root" in output
