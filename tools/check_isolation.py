"""Check that each package stands alone.

Builds every wheel, then, package by package, makes an empty environment that holds that wheel and what it declares,
checks what can be imported there and what importing does, copies the package's tests out of the repository and runs
them. Then the same for the meta-package, and for two small packages that depend on one layer only.
"""

import argparse
import fcntl
import json
import shutil
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from downstream import DOWNSTREAM, write_downstream
from isolated_environment import Environment, build_wheels, test_requirements, write_pytest_ini
from packaging.requirements import Requirement
from workspace import ROOT, Package, WorkspaceError, closure, fail, import_names, load_packages, select

PROBE = Path(__file__).with_name("isolation_probe.py")


@dataclass(frozen=True)
class Options:
    """What the person at the terminal chose.

    Attributes:
        names: packages to check; none means all, the meta-package and the downstream packages.
        tests: expression for pytest's -k, or empty.
        import_limit_s: seconds that importing a package may add to torch and tensordict, or None for no limit.
    """

    names: tuple[str, ...] = ()
    tests: str = ""
    import_limit_s: float | None = None


def unexpected_modules(package: Package, packages: Sequence[Package]) -> list[str]:
    """Names that must not be importable where only this package and what it declares is installed.

    These are the packages of the workspace that it does not depend on, and what only they depend on: neither the
    package nor what its own dependencies bring along.
    """
    inside = closure(package, packages)
    outside = [other for other in packages if other not in inside]
    names = {name for other in outside for requirement in other.dependencies for name in import_names(requirement)}
    declared = [requirement for other in inside for requirement in other.dependencies]
    allowed = {name for requirement in brought_along(declared) for name in import_names(requirement)}
    return sorted((names | {other.module for other in outside}) - allowed - {other.module for other in inside})


def brought_along(requirements: Iterable[Requirement]) -> list[Requirement]:
    """The requirements and, as far as they are installed here, what they require in turn."""
    found: dict[str, Requirement] = {}
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        if requirement.name in found:
            continue
        found[requirement.name] = requirement
        try:
            inner = [Requirement(text) for text in metadata.requires(requirement.name) or ()]
        except metadata.PackageNotFoundError:
            continue
        waiting += [each for each in inner if each.marker is None or each.marker.evaluate({"extra": ""})]
    return list(found.values())


def check_import(module: str, unexpected: Sequence[str], environment: Environment, limit_s: float | None) -> list[str]:
    """What is wrong with importing a module in an environment; prints how long it takes.

    Args:
        module: what to import.
        unexpected: names that must not be importable.
        environment: where.
        limit_s: seconds that the import may take after torch and tensordict, or None.
    """
    answer = json.loads(environment.python(str(PROBE), module, *unexpected).strip().splitlines()[-1])
    problems = [f"{name} can be imported, though nothing that is installed declares it" for name in answer["present"]]
    runs = answer["runs"]
    if any("error" in run for run in runs):
        return [*problems, environment.python_error("-c", f"import {module}")]
    printed = runs[0]["printed"]
    problems += [f"importing {module} prints: {printed.strip()}"] if printed else []
    problems += [f"importing {module} changes {name}" for name in runs[0]["changed"]]
    seconds = statistics.median(run["seconds"] for run in runs)
    print(f"  import {module}: {1000 * seconds:.0f} ms after torch and tensordict", flush=True)
    if limit_s is not None and seconds > limit_s:
        problems.append(
            f"importing {module} takes {seconds:.3f} s after torch and tensordict, the limit is {limit_s} s"
        )
    return problems


def run_tests(package: Package, environment: Environment, root: Path, expression: str) -> list[str]:
    """Run a copy of the package's tests in an environment, and return what is wrong."""
    if not any(package.tests.rglob("test_*.py")):
        return [f"there are no tests in {package.tests.relative_to(root)}"]
    folder = environment.folder / "tests"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(package.tests, folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    write_pytest_ini(root, folder / "pytest.ini")
    chosen = ["-k", expression] if expression else []
    try:
        output = environment.python("-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, "tests", cwd=folder)
    except WorkspaceError as error:
        return [str(error)]
    print(f"  tests: {output.strip().splitlines()[-1]}", flush=True)
    return []


def check_package(
    package: Package, packages: Sequence[Package], environment: Environment, root: Path, options: Options
) -> list[str]:
    """Everything that keeps one package from standing alone."""
    try:
        environment.create()
        environment.install([package.name])
        problems = check_import(
            package.module, unexpected_modules(package, packages), environment, options.import_limit_s
        )
        environment.install([*test_requirements(root), *map(str, package.test_requirements())])
        return problems + run_tests(package, environment, root, options.tests)
    except WorkspaceError as error:
        return [str(error)]


def check_meta_package(packages: Sequence[Package], environment: Environment) -> list[str]:
    """What is wrong with the meta-package: it has to bring every package."""
    try:
        environment.create()
        environment.install(["rl-suite[cuda]"])
        environment.python("-c", "; ".join(f"import {package.module}" for package in packages))
    except WorkspaceError as error:
        return [str(error)]
    return []


def check_downstream(name: str, packages: Sequence[Package], environment: Environment) -> list[str]:
    """What is wrong with a package of someone else's that depends on one package of the workspace."""
    package = next(each for each in packages if each.name == name)
    try:
        environment.create()
        environment.install([str(write_downstream(name, environment.folder / "downstream"))])
        unexpected = unexpected_modules(package, packages)
        print(f"  {environment.python('-m', f'downstream_{package.module}', *unexpected).strip()}", flush=True)
    except WorkspaceError as error:
        return [str(error)]
    return []


def check(root: Path, folder: Path, options: Options) -> dict[str, list[str]]:
    """What is wrong with each thing checked.

    Args:
        root: root of the repository.
        folder: where wheels, environment and copies of the tests go.
        options: what to check.
    Raises:
        WorkspaceError: the workspace is not as expected, or a wheel cannot be built.
    """
    packages = load_packages(root)
    chosen = select(packages, options.names)
    with _phase("build wheels"):
        environment = Environment(folder, build_wheels(root, packages, folder / "dist"), root)
    problems: dict[str, list[str]] = {}
    for package in chosen:
        with _phase(package.name):
            problems[package.name] = check_package(package, packages, environment, root, options)
    if not options.names:
        with _phase("rl-suite"):
            problems["rl-suite"] = check_meta_package(packages, environment)
    for name in [package.name for package in chosen if package.name in DOWNSTREAM]:
        with _phase(f"downstream of {name}"):
            problems[f"downstream of {name}"] = check_downstream(name, packages, environment)
    return problems


@contextmanager
def _phase(name: str) -> Iterator[None]:
    started = time.perf_counter()
    print(f"isolation: {name}", flush=True)
    yield
    print(f"  {time.perf_counter() - started:.1f} s", flush=True)


@contextmanager
def _work_folder(root: Path, *, is_kept: bool) -> Iterator[Path]:
    """An empty folder at a constant path, so that compiled bytecode fits from one package to the next."""
    cache = root / ".cache"
    cache.mkdir(exist_ok=True)
    with (cache / "isolation.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkspaceError(f"another isolation check is running in {root}; wait until it is done") from None
        folder = cache / "isolation"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder
        if is_kept:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", action="append", default=[], metavar="NAME", help="only this one; repeatable")
    parser.add_argument("-k", dest="tests", default="", metavar="EXPRESSION", help="only these tests, as pytest's -k")
    parser.add_argument(
        "--import-limit", type=float, metavar="SECONDS", help="fail when an import takes longer (default: only report)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the wheels and the last environment")
    parser.add_argument("--root", type=Path, default=ROOT, help="root of the repository (default: this one)")
    arguments = parser.parse_args(argv)
    root = arguments.root.resolve()
    options = Options(tuple(arguments.package), arguments.tests, arguments.import_limit)
    try:
        with _work_folder(root, is_kept=arguments.keep) as folder:
            problems = check(root, folder, options)
    except WorkspaceError as error:
        return fail(error)
    for name, lines in problems.items():
        print(f"{name}: {'FAILED' if lines else 'stands alone'}", *(f"\n  {line}" for line in lines))
    return 1 if any(problems.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
